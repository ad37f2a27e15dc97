-- One row for each asked table that has statistics: scans that were begun and rows that were changed, since they were
-- reset. Two readings give what happens in between.
SELECT
    u.oid,
    coalesce(pg_catalog.pg_stat_get_numscans(u.oid), 0) OPERATOR(pg_catalog.+) coalesce((
        SELECT pg_catalog.sum(pg_catalog.pg_stat_get_numscans(i.indexrelid))
        FROM pg_catalog.pg_index AS i
        WHERE i.indrelid OPERATOR(pg_catalog.=) u.oid
    ), 0)::pg_catalog.int8 AS scans,
    coalesce(pg_catalog.pg_stat_get_tuples_inserted(u.oid), 0)
    OPERATOR(pg_catalog.+) coalesce(pg_catalog.pg_stat_get_tuples_updated(u.oid), 0)
    OPERATOR(pg_catalog.+) coalesce(pg_catalog.pg_stat_get_tuples_deleted(u.oid), 0) AS changes,
    pg_catalog.clock_timestamp() AS at
FROM pg_catalog.unnest(%(oids)s::pg_catalog.oid[]) AS u (oid);
