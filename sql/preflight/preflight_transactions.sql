-- One row for each open transaction of this database whose snapshot an index build with CONCURRENTLY waits for, oldest
-- first. VACUUM is left out, which it does not wait for.
SELECT s.pid
FROM pg_catalog.pg_stat_get_activity(NULL) AS s
WHERE
    s.backend_xmin IS NOT NULL
    AND s.datid OPERATOR(pg_catalog.=) %(database_oid)s::pg_catalog.oid
    AND s.pid OPERATOR(pg_catalog.<>) pg_catalog.pg_backend_pid()
    AND s.backend_type IN ('client backend', 'parallel worker', 'logical replication worker', 'background worker')
    AND s.pid NOT IN (SELECT v.pid FROM pg_catalog.pg_stat_get_progress_info('VACUUM') AS v)
ORDER BY s.xact_start, s.pid
LIMIT %(most)s;
