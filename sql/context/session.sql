-- One row: the server's cluster_name, and whether this session is ours alone, and pinned. Not so where a pooler answers
-- by another session than the one that was connected to, or has dropped the start-up options.
-- The first statement on a connection: an operator or a cast by name may still be of another role, so here is none.
SELECT
    s.is_ours,
    pg_catalog.current_setting('cluster_name') AS cluster_name,
    -- No start-up option: libpq would take the server for a standby where the DSN asks for read-write.
    CASE
        WHEN s.is_ours THEN pg_catalog.set_config('default_transaction_read_only', 'on', false)
    END AS read_only,
    -- Since 17, so it is no start-up option. Each statement of ours is a transaction, and has its own limit.
    CASE
        WHEN s.is_ours AND pg_catalog.current_setting('transaction_timeout', true) IS NOT NULL
            THEN pg_catalog.set_config('transaction_timeout', '0', false)
    END AS transaction_timeout,
    -- Looks up once whether our role has pg_read_all_stats, which reads pg_authid and pg_auth_members. The session
    -- remembers it, so that a later lock on these holds up no poll.
    (SELECT pg_catalog.count(*) FROM pg_catalog.pg_stat_get_activity(pg_catalog.pg_backend_pid())) AS sessions_seen
FROM (
    SELECT
        pg_catalog.int4eq(pg_catalog.pg_backend_pid(), %(own_pid)s::pg_catalog.int4)
        AND pg_catalog.texteq(pg_catalog.current_setting('search_path'), %(search_path)s::pg_catalog.text) AS is_ours
) AS s;
