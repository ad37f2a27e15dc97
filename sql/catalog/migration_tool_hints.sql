-- One row for each advisory lock of the asked processes, and for each table of theirs that a migration tool keeps
-- its history in: what gives the tool away.
-- Apart from lock_waits.sql, for it asks pg_class and pg_namespace for names, and would wait behind a lock on them.
-- The few tables are looked up first: with a name for each lock it took twice as long (measured, 40,000 locks).
WITH history AS MATERIALIZED (
    SELECT c.oid, c.relnamespace, c.relname
    FROM pg_catalog.pg_class AS c
    WHERE c.relname = ANY (%(tables)s::pg_catalog.text[]) AND c.relkind IN ('r', 'p')
    UNION
    SELECT c.oid, c.relnamespace, c.relname
    FROM pg_catalog.pg_namespace AS n
    JOIN pg_catalog.pg_class AS c ON c.relnamespace = n.oid
    WHERE n.nspname = ANY (%(schemas)s::pg_catalog.text[]) AND c.relkind IN ('r', 'p')
)

SELECT
    l.pid,
    l.classid::pg_catalog.int8 AS classid,
    l.objid::pg_catalog.int8 AS objid,
    l.objsubid,
    n.nspname::pg_catalog.text AS schema_name,
    h.relname::pg_catalog.text AS table_name
FROM pg_catalog.pg_lock_status() AS l
LEFT JOIN history AS h ON h.oid = l.relation AND l.locktype = 'relation' AND l.database = %(database_oid)s
LEFT JOIN pg_catalog.pg_namespace AS n ON n.oid = h.relnamespace
WHERE
    l.pid = ANY (%(pids)s::pg_catalog.int4[])
    AND l.granted
    AND (l.locktype = 'advisory' OR h.oid IS NOT NULL);
