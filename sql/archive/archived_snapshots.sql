-- Rows: the snapshots of one incident, in the order of time.
SELECT s.server, s.at, s.body
FROM pgdoctor_archive.snapshots AS s
WHERE s.incident OPERATOR(pg_catalog.=) %(incident)s::pg_catalog.text
ORDER BY s.at
LIMIT 1000;
