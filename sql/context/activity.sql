-- One row for each session that is not a parallel worker, the most pressing first; and ours, whatever the limit. For the
-- live view alone, once at each of its refreshes, never for the agent.
-- Each row has the sums beside the session: how many there are, and what connected databases have counted.
-- Reads the activity function and counters by OID, no catalog, and so waits behind no lock: pg_stat_database would join
-- pg_database.
WITH session AS MATERIALIZED (
    SELECT s.*
    FROM pg_catalog.pg_stat_get_activity(NULL) AS s
    WHERE
        s.backend_type IS DISTINCT FROM 'parallel worker'
        -- Processes of the server itself have no state and no database. A hidden session has its database.
        AND (s.datid IS NOT NULL OR s.state IS NOT NULL)
),

counted AS MATERIALIZED (
    SELECT
        -- In the order of the fields of `DatabaseCounters`, by OID.
        pg_catalog.json_object_agg(
            d.datid,
            pg_catalog.json_build_array(
                pg_catalog.pg_stat_get_db_xact_commit(d.datid) + pg_catalog.pg_stat_get_db_xact_rollback(d.datid),
                pg_catalog.pg_stat_get_db_deadlocks(d.datid)
            )
        )::pg_catalog.text AS counters
    FROM (SELECT DISTINCT s.datid FROM session AS s WHERE s.datid <> 0) AS d
)

SELECT
    pg_catalog.clock_timestamp() AS captured_at,
    counted.counters,
    (pg_catalog.count(*) OVER ())::pg_catalog.int4 AS all_sessions,
    s.pid,
    s.pid = pg_catalog.pg_backend_pid() AS is_own,
    s.datid AS database_oid,
    s.usesysid AS role_oid,
    s.application_name,
    pg_catalog.host(s.client_addr) AS client_addr,
    s.backend_type,
    s.state,
    s.wait_event_type,
    s.wait_event,
    s.backend_start,
    s.xact_start,
    s.query_start,
    s.state_change,
    -- As bytes: functions of text may refuse the statement of a session in a database of another encoding.
    pg_catalog.substring(pg_catalog.textsend(s.query), 1, %(statement_bytes)s) AS statement
FROM session AS s
CROSS JOIN counted
ORDER BY
    is_own DESC,
    CASE s.state WHEN 'active' THEN 0 WHEN 'idle' THEN 2 ELSE 1 END,
    s.state_change
LIMIT %(most)s;
