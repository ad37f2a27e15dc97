-- One row for each asked column that has been analysed, by the functions of `pgdoctor setup --stats`: as statistics.sql.
-- Only for columns that our role may not read itself.
SELECT
    a.attrelid AS table_oid,
    a.attname::pg_catalog.text AS name,
    f.null_share,
    f.distinct_values,
    (SELECT pg_catalog.max(m.share) FROM pg_catalog.unnest(f.common_shares) AS m (share))::pg_catalog.float8 AS top_share
FROM pg_catalog.pg_attribute AS a
JOIN pg_catalog.pg_class AS c ON c.oid = a.attrelid
CROSS JOIN LATERAL pgdoctor.column_statistics(a.attrelid, a.attnum, c.relkind = 'p') AS f
WHERE a.attrelid = ANY (%(oids)s::pg_catalog.oid[]) AND a.attnum > 0 AND NOT a.attisdropped AND f.null_share IS NOT NULL
LIMIT 5000;
