-- One row for each session that the startup process of a standby waits for, or may wait for, the oldest first.
-- pg_blocking_pids() knows none of them: it gives no blocker of that process (measured, 14 to 18).
--   lock        who holds a lock on what it wants to lock: AccessExclusiveLock, with which each other one conflicts
--   snapshot    whose snapshot is older than one that is taken now. Replay stands still, so what it wants to remove is
--               older than that; the session with the oldest snapshot of the database is among those that it waits for.
--   buffer_pin  who has a snapshot, as each statement and each open cursor has; pins themselves are shown nowhere
--   tablespace  who has a transaction: the server waits for all of them
WITH session AS MATERIALIZED (
    SELECT s.*
    FROM pg_catalog.pg_stat_get_activity(NULL) AS s
    WHERE s.pid NOT IN (pg_catalog.pg_backend_pid(), %(startup_pid)s)
),

wanted AS MATERIALIZED (
    SELECT l.pid, l.locktype, l.database, l.relation, l.mode, l.granted, l.waitstart
    FROM pg_catalog.pg_lock_status() AS l
    WHERE %(conflict)s = 'lock' AND l.locktype = 'relation'
),

request AS MATERIALIZED (
    SELECT w.database, w.relation, w.waitstart
    FROM wanted AS w
    WHERE w.pid = %(startup_pid)s AND NOT w.granted
    LIMIT 1
),

holder AS (
    SELECT w.pid, pg_catalog.array_agg(w.mode) AS modes
    FROM wanted AS w
    JOIN request AS r ON r.database = w.database AND r.relation = w.relation
    WHERE w.granted AND w.pid <> %(startup_pid)s
    GROUP BY w.pid
),

found AS (
    SELECT h.pid, h.modes FROM holder AS h
    UNION ALL
    SELECT s.pid, NULL
    FROM session AS s
    WHERE
        CASE %(conflict)s
            WHEN 'snapshot' THEN
                pg_catalog.age(s.backend_xmin)
                > pg_catalog.age(pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())::pg_catalog.xid)
            WHEN 'buffer_pin' THEN s.backend_xmin IS NOT NULL
            WHEN 'tablespace' THEN s.xact_start IS NOT NULL
            ELSE false
        END
)

SELECT
    f.pid,
    f.modes,
    r.database AS locked_database,
    r.relation AS locked_relation,
    r.waitstart,
    s.usesysid AS role_oid,
    s.datid AS database_oid,
    s.application_name,
    pg_catalog.host(s.client_addr) AS client_addr,
    s.state,
    s.xact_start,
    pg_catalog.age(s.backend_xmin)::pg_catalog.int8 AS xids,
    pg_catalog.substring(pg_catalog.textsend(s.query), 1, %(statement_bytes)s) AS statement,
    (pg_catalog.count(f.pid) OVER ())::pg_catalog.int4 AS total
FROM (SELECT 1) AS one
LEFT JOIN request AS r ON true
LEFT JOIN found AS f ON true
LEFT JOIN session AS s ON s.pid = f.pid
WHERE f.pid IS NOT NULL OR r.relation IS NOT NULL
ORDER BY xids DESC NULLS LAST, s.xact_start, f.pid
LIMIT %(most)s;
