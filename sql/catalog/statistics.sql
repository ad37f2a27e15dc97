-- One row for each analysed column of tables of the asked names that our role may read: how often values repeat,
-- never which. The view shows nothing of a table without SELECT on it. Names as parameters, for a join with the view
-- would read the statistics of the whole database: it is a security barrier, that only constants pass.
SELECT
    s.schemaname::pg_catalog.text AS schema_name,
    s.tablename::pg_catalog.text AS table_name,
    s.attname::pg_catalog.text AS name,
    s.inherited AS is_inherited,
    s.null_frac::pg_catalog.float8 AS null_share,
    -- Below zero in the catalog: as a share of the rows.
    s.n_distinct::pg_catalog.float8 AS distinct_values,
    (
        SELECT pg_catalog.max(f.share) FROM pg_catalog.unnest(s.most_common_freqs) AS f (share)
    )::pg_catalog.float8 AS top_share
FROM pg_catalog.pg_stats AS s
WHERE
    s.tablename = ANY (%(tables)s::pg_catalog.name[])
    AND s.schemaname = ANY (%(schemas)s::pg_catalog.name[]);
