-- No row. The latest observation of an incident takes the place of the earlier ones, as in a journal.
DELETE FROM pgdoctor_archive.records AS r
WHERE r.server OPERATOR(pg_catalog.=) %(server)s::pg_catalog.text
    AND r.kind OPERATOR(pg_catalog.=) 'incident'::pg_catalog.text
    AND r.subject OPERATOR(pg_catalog.=) %(subject)s::pg_catalog.text
    AND r.digest OPERATOR(pg_catalog.=) 'observed'::pg_catalog.text
    AND r.at OPERATOR(pg_catalog.<) %(at)s::pg_catalog.timestamptz;
