-- One row for each of the busiest databases: what it has counted since its statistics began.
-- The view joins pg_database, and so waits behind a lock on it.
SELECT
    d.datname::pg_catalog.text AS database,
    d.xact_commit AS commits,
    d.xact_rollback AS rollbacks,
    d.sessions,
    d.deadlocks,
    d.blks_hit AS blocks_hit,
    d.blks_read AS blocks_read,
    d.stats_reset,
    -- Of all databases, those beyond the limit, too.
    (pg_catalog.sum(d.deadlocks) OVER ())::pg_catalog.int8 AS all_deadlocks,
    pg_catalog.min(d.stats_reset) OVER () AS all_since
FROM pg_catalog.pg_stat_database AS d
WHERE d.datid <> 0
ORDER BY d.xact_commit + d.xact_rollback DESC
LIMIT %(most)s;
