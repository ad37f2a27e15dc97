-- One row: the version of the archive's tables, and the archive's id; null: there are none yet.
-- Its tables can be named only where they exist, so the catalog is asked by the schema's comment.
SELECT pg_catalog.obj_description(n.oid, 'pg_namespace') AS description,
    pg_catalog.getdatabaseencoding() AS encoding,
    pg_catalog.pg_is_in_recovery() AS in_recovery
FROM (VALUES (1)) AS one (row)
LEFT JOIN pg_catalog.pg_namespace AS n ON n.nspname OPERATOR(pg_catalog.=) 'pgdoctor_archive';
