-- One row for each asked relation: its name, kind and size. The size is that of its last VACUUM or ANALYZE, for a size
-- of now would have to wait for locks; -1 rows: it was never analyzed.
SELECT
    c.oid,
    n.nspname::pg_catalog.text AS schema,
    c.relname::pg_catalog.text AS name,
    pg_catalog.quote_ident(n.nspname) OPERATOR(pg_catalog.||) '.'
    OPERATOR(pg_catalog.||) pg_catalog.quote_ident(c.relname) AS shown,
    c.relkind::pg_catalog.text AS kind,
    c.relpersistence::pg_catalog.text AS persistence,
    c.relpages::pg_catalog.int8 AS pages,
    c.reltuples::pg_catalog.float8 AS rows,
    c.reltype AS row_type,
    EXISTS (
        SELECT FROM pg_catalog.pg_trigger AS g
        WHERE g.tgrelid OPERATOR(pg_catalog.=) c.oid AND NOT g.tgisinternal
    ) AS has_triggers
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
WHERE c.oid OPERATOR(pg_catalog.=) ANY (%(oids)s::pg_catalog.oid[]);
