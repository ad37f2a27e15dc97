-- One row for each asked relation of the connected database: relations.sql without pg_index, where that is locked.
SELECT
    c.oid,
    c.relkind::pg_catalog.text AS kind,
    n.nspname::pg_catalog.text AS schema_name,
    c.relname::pg_catalog.text AS bare_name,
    pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname) AS name,
    n.nspname IN ('pg_catalog', 'information_schema', 'pg_toast') AS is_system,
    c.relpersistence = 't' AS is_temporary,
    NULL::pg_catalog.oid AS table_oid,
    c.relkind IN ('r', 'p') AND c.relhassubclass AS has_descendants,
    c.relpages AS pages,
    -- Never analysed is -1 (14+); the counter of live rows knows more then.
    greatest(c.reltuples, pg_catalog.pg_stat_get_live_tuples(c.oid))::pg_catalog.float8 AS live_rows,
    pg_catalog.pg_stat_get_numscans(c.oid) AS scan_count,
    pg_catalog.pg_stat_get_tuples_returned(c.oid) AS scan_rows
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.oid = ANY (%(oids)s::pg_catalog.oid[]);
