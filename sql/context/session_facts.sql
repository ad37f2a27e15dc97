-- One row for each asked session that is there: what it does, and whom it waits for if it waits for a lock.
SELECT
    s.pid,
    -- Of a parallel worker of a query.
    CASE WHEN s.backend_type = 'parallel worker' THEN s.leader_pid END AS leader_pid,
    CASE WHEN s.wait_event_type = 'Lock' THEN pg_catalog.pg_blocking_pids(s.pid) ELSE '{}' END AS blocker_pids,
    s.datid AS database_oid,
    s.usesysid AS role_oid,
    s.application_name,
    pg_catalog.host(s.client_addr) AS client_addr,
    s.backend_type,
    s.state,
    -- Cut as bytes: functions of text may refuse the statement of a session in a database of another encoding.
    pg_catalog.substring(pg_catalog.textsend(s.query), 1, %(statement_bytes)s) AS statement,
    s.wait_event_type,
    s.wait_event,
    s.backend_start,
    s.xact_start,
    s.query_start,
    s.state_change,
    s.backend_xid IS NOT NULL AS has_xid
FROM pg_catalog.pg_stat_get_activity(NULL) AS s
WHERE s.pid = ANY (%(pids)s::pg_catalog.int4[]);
