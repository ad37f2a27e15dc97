-- Rows: records of kind incident since a moment; or all records about one incident, and what was done meanwhile.
SELECT r.server, r.kind, r.subject, r.at, r.body
FROM pgdoctor_archive.records AS r
WHERE r.kind OPERATOR(pg_catalog.=) ANY (%(kinds)s::pg_catalog.text[])
    AND r.at OPERATOR(pg_catalog.>=) %(since)s::pg_catalog.timestamptz
    AND r.at OPERATOR(pg_catalog.<=) %(until)s::pg_catalog.timestamptz
    AND (%(subject)s::pg_catalog.text IS NULL OR r.subject OPERATOR(pg_catalog.=) %(subject)s::pg_catalog.text)
    AND (%(server)s::pg_catalog.text IS NULL OR r.server OPERATOR(pg_catalog.=) %(server)s::pg_catalog.text)
ORDER BY r.at, r.kind, r.digest
LIMIT %(most)s::pg_catalog.int4;
