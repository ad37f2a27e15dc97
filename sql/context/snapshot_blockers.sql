-- One row for each of the oldest transactions that a session with the wait event SafeSnapshot waits for.
SELECT
    s.pid,
    s.usesysid AS role_oid,
    s.datid AS database_oid,
    s.application_name,
    s.state,
    s.xact_start AS since,
    pg_catalog.substring(pg_catalog.textsend(s.query), 1, %(statement_bytes)s) AS statement
FROM pg_catalog.pg_stat_get_activity(NULL) AS s
WHERE
    s.xact_start IS NOT NULL
    AND s.pid IN (
        SELECT b.pid
        FROM pg_catalog.pg_stat_get_activity(NULL) AS w
        CROSS JOIN LATERAL pg_catalog.unnest(pg_catalog.pg_safe_snapshot_blocking_pids(w.pid)) AS b (pid)
        WHERE w.wait_event = 'SafeSnapshot'
    )
ORDER BY s.xact_start, s.pid
LIMIT %(most)s;
