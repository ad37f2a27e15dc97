-- One row for each advisory lock of the asked processes, and for each table of theirs that a migration tool keeps
-- its history in: what gives the tool away.
-- Apart from waits.sql, for it asks pg_class and pg_namespace for names, and would wait behind a lock on them.
SELECT
    l.pid,
    l.classid::pg_catalog.int8 AS classid,
    l.objid::pg_catalog.int8 AS objid,
    l.objsubid,
    n.nspname::pg_catalog.text AS schema_name,
    c.relname::pg_catalog.text AS table_name
FROM pg_catalog.pg_lock_status() AS l
LEFT JOIN pg_catalog.pg_class AS c
    ON
        l.locktype = 'relation'
        AND l.database = %(database_oid)s
        AND c.oid = l.relation
        AND c.relkind IN ('r', 'p')
LEFT JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE
    l.pid = ANY (%(pids)s::pg_catalog.int4[])
    AND l.granted
    AND (
        l.locktype = 'advisory'
        OR c.relname = ANY (%(tables)s::pg_catalog.text[])
        OR n.nspname = ANY (%(schemas)s::pg_catalog.text[])
    );
