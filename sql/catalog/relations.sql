-- One row for each asked relation of the connected database, and for the table of an asked index.
-- Raw catalog columns and counters only: pg_relation_size(), pg_get_indexdef() and their like wait behind an
-- AccessExclusiveLock on the table (measured), which is just what is held during an incident.
SELECT
    c.oid,
    c.relkind::pg_catalog.text AS kind,
    n.nspname::pg_catalog.text AS schema_name,
    c.relname::pg_catalog.text AS bare_name,
    pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname) AS name,
    n.nspname IN ('pg_catalog', 'information_schema', 'pg_toast') AS is_system,
    c.relpersistence = 't' AS is_temporary,
    i.indrelid AS table_oid,
    c.relkind IN ('r', 'p') AND c.relhassubclass AS has_descendants,
    c.relpages AS pages,
    -- Never analysed is -1 (14+); the counter of live rows knows more then.
    greatest(c.reltuples, pg_catalog.pg_stat_get_live_tuples(c.oid))::pg_catalog.float8 AS live_rows,
    pg_catalog.pg_stat_get_numscans(c.oid) AS scan_count,
    pg_catalog.pg_stat_get_tuples_returned(c.oid) AS scan_rows
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_index AS i ON i.indexrelid = c.oid
WHERE
    c.oid = ANY (%(oids)s::pg_catalog.oid[])
    OR c.oid IN (
        SELECT x.indrelid FROM pg_catalog.pg_index AS x WHERE x.indexrelid = ANY (%(oids)s::pg_catalog.oid[])
    );
