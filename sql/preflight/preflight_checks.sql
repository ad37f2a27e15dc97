-- One row for each valid CHECK of the asked tables, as SQL. That form takes a lock on the table for a moment, so this is
-- asked by itself, and may fail behind a lock.
SELECT
    k.conrelid AS table_oid,
    pg_catalog.pg_get_constraintdef(k.oid) AS definition
FROM pg_catalog.pg_constraint AS k
WHERE
    k.contype OPERATOR(pg_catalog.=) 'c'
    AND k.convalidated
    AND k.conrelid OPERATOR(pg_catalog.=) ANY (%(oids)s::pg_catalog.oid[])
LIMIT %(most)s;
