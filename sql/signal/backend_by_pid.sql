-- The session or process of that number: one row, or none. For questions about a session that blocks no other.
SELECT
    s.backend_type::pg_catalog.text AS backend_type,
    -- Of a parallel worker of a query.
    CASE WHEN s.backend_type = 'parallel worker' THEN s.leader_pid END AS leader_pid,
    s.application_name
FROM pg_catalog.pg_stat_get_activity(%(pid)s::pg_catalog.int4) AS s;
