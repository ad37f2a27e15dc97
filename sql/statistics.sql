-- One row for each analysed column of the asked tables that our role may read: how often values repeat, never which.
-- The view shows nothing of a table without SELECT on it. A partitioned table's own rows are those of its partitions.
SELECT
    c.oid AS table_oid,
    s.attname::pg_catalog.text AS name,
    s.null_frac::pg_catalog.float8 AS null_share,
    -- Below zero in the catalog: as a share of the rows.
    s.n_distinct::pg_catalog.float8 AS distinct_values,
    (
        SELECT pg_catalog.max(f.share) FROM pg_catalog.unnest(s.most_common_freqs) AS f (share)
    )::pg_catalog.float8 AS top_share
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_stats AS s ON s.schemaname = n.nspname AND s.tablename = c.relname
WHERE c.oid = ANY (%(oids)s::pg_catalog.oid[]) AND s.inherited = (c.relkind = 'p');
