-- No row. The blockers of an incident that are not among the first `count`: they were replaced.
DELETE FROM pgdoctor_archive.blockers AS b
WHERE b.server OPERATOR(pg_catalog.=) %(server)s::pg_catalog.text
    AND b.incident OPERATOR(pg_catalog.=) %(incident)s::pg_catalog.text
    AND b.started OPERATOR(pg_catalog.=) %(started)s::pg_catalog.timestamptz
    AND b.place OPERATOR(pg_catalog.>=) %(count)s::pg_catalog.int4;
