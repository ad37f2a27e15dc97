-- One row for each of the oldest transactions that hold a lock on a table that VACUUM works on while it waits for a pin
-- (a session that has a page pinned has its table locked, too).
WITH locks AS MATERIALIZED (
    SELECT l.pid, l.database, l.relation, l.mode
    FROM pg_catalog.pg_lock_status() AS l
    WHERE l.locktype = 'relation' AND l.granted
)

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
    AND s.wait_event_type IS DISTINCT FROM 'BufferPin'
    AND s.pid IN (
        SELECT h.pid
        FROM pg_catalog.pg_stat_get_activity(NULL) AS w
        JOIN locks AS v ON v.pid = w.pid AND v.mode = 'ShareUpdateExclusiveLock'
        JOIN locks AS h ON h.database = v.database AND h.relation = v.relation
        WHERE w.wait_event_type = 'BufferPin'
    )
ORDER BY s.xact_start, s.pid
LIMIT %(most)s;
