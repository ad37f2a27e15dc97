-- One row for each constraint of the asked tables, with its index and the table that it references (0: none).
SELECT
    k.conrelid AS table_oid,
    k.conname::pg_catalog.text AS name,
    k.contype::pg_catalog.text AS kind,
    k.convalidated AS is_valid,
    k.conindid AS index_oid,
    k.confrelid AS referenced_oid
FROM pg_catalog.pg_constraint AS k
WHERE k.conrelid OPERATOR(pg_catalog.=) ANY (%(oids)s::pg_catalog.oid[])
LIMIT %(most)s;
