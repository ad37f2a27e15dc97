-- One row for each relation of the asked schemas that DROP SCHEMA or REINDEX SCHEMA reaches; indexes and TOAST tables are
-- found by their tables.
SELECT c.oid
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
WHERE
    n.nspname OPERATOR(pg_catalog.=) ANY (%(schemas)s::pg_catalog.name[])
    AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
LIMIT %(most)s;
