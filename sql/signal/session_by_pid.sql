-- The session or process of that number, with all that a person is shown of it: one row, or none. Asked for when a
-- person names a session, whether others wait for it or not.
SELECT
    s.pid,
    s.leader_pid,
    s.datid AS database_oid,
    s.usesysid AS role_oid,
    s.application_name,
    pg_catalog.host(s.client_addr) AS client_addr,
    s.backend_type::pg_catalog.text AS backend_type,
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
-- Anew, for another statement of the same transaction may have looked before.
FROM pg_catalog.pg_stat_get_activity(
    CASE WHEN pg_catalog.pg_stat_clear_snapshot() IS NOT NULL THEN %(pid)s::pg_catalog.int4 ELSE 0 END
) AS s;
