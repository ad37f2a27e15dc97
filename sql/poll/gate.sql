-- One row: the gate of each poll. Who waits on a lock, how the connections are used, what is hidden from us.
-- How long a session has waited stands only in pg_locks, which costs 0.5 us a lock (measured). But no session has
-- waited
-- for longer than the statement runs that waits; one that is young is left out, so that the short waits of any
-- write load do not open the gate.
-- Reads the activity function and not the view: the view joins pg_database and pg_authid, so it would wait
-- behind a lock on them, and it costs twice as much (measured).
SELECT
    pg_catalog.clock_timestamp() AS captured_at,
    pg_catalog.current_setting('server_version_num')::pg_catalog.int4 AS version_num,
    pg_catalog.pg_is_in_recovery() AS in_recovery,
    pg_catalog.current_setting('max_connections')::pg_catalog.int4 AS max_connections,
    extract(
        EPOCH FROM pg_catalog.current_setting('deadlock_timeout')::pg_catalog.interval
    )::pg_catalog.float8 AS deadlock_timeout,
    pg_catalog.pg_size_bytes(pg_catalog.current_setting('track_activity_query_size')) AS statement_bytes,
    pg_catalog.pg_backend_pid() AS own_pid,
    pg_catalog.max(s.datid) FILTER (WHERE s.pid = pg_catalog.pg_backend_pid()) AS database_oid,
    -- A session without a known beginning (a worker that starts; since 18, a login) counts as old; so does one that
    -- began in the future, for then the clock was set back. A parallel worker has the beginning of its leader.
    pg_catalog.count(*) FILTER (
        WHERE
            s.wait_event_type = 'Lock'
            AND (
                s.query_start > pg_catalog.clock_timestamp() - %(wait_threshold)s
                AND s.query_start <= pg_catalog.clock_timestamp()
            ) IS NOT TRUE
    )::pg_catalog.int4 AS lock_waiters,
    -- One number of how these are, and the sessions of `watched`: as long as none of them changes, it stays the same.
    -- The session of a full poll has the same number (`activity_hash` of lock_waits).
    pg_catalog.bit_xor(
        pg_catalog.hash_record_extended(
            row(
                s.pid, s.backend_start, s.xact_start, s.query_start, s.state_change, s.state, s.wait_event_type,
                s.wait_event, s.backend_xid IS NOT NULL
            ),
            0
        )
    ) FILTER (
        WHERE
            (
                s.wait_event_type = 'Lock'
                AND (
                    s.query_start > pg_catalog.clock_timestamp() - %(wait_threshold)s
                    AND s.query_start <= pg_catalog.clock_timestamp()
                ) IS NOT TRUE
            )
            OR s.pid OPERATOR(pg_catalog.=) ANY(%(watched)s::pg_catalog.int4 [])
    ) AS activity_hash,
    -- All of them, whatever their age: PID and beginning of the statement, by which one is known again. In a queue in
    -- which a lock changes hands all the time, pg_locks has nothing that lasts.
    (
        pg_catalog.json_agg(
            pg_catalog.json_build_array(
                coalesce(CASE WHEN s.backend_type = 'parallel worker' THEN s.leader_pid END, s.pid),
                coalesce(s.query_start, s.backend_start)
            )
        ) FILTER (WHERE s.wait_event_type = 'Lock')
    )::pg_catalog.text AS waiting,
    pg_catalog.count(*) FILTER (WHERE s.wait_event = 'SafeSnapshot')::pg_catalog.int4 AS snapshot_waiters,
    -- The startup process of a standby has a finding of its own.
    pg_catalog.count(*) FILTER (
        WHERE s.wait_event_type = 'BufferPin' AND s.backend_type IS DISTINCT FROM 'startup'
    )::pg_catalog.int4 AS pin_waiters,
    -- On a standby, what replay waits for. There is one such process.
    pg_catalog.max(s.wait_event_type) FILTER (WHERE s.backend_type = 'startup') AS replay_wait_type,
    pg_catalog.max(s.wait_event) FILTER (WHERE s.backend_type = 'startup') AS replay_wait,
    -- Without pg_read_all_stats the columns of other users' sessions are NULL, backend_type among them.
    pg_catalog.count(*) FILTER (WHERE s.backend_type IS NULL)::pg_catalog.int4 AS hidden,
    pg_catalog.count(*) FILTER (WHERE c.is_client)::pg_catalog.int4 AS connections,
    pg_catalog.count(*) FILTER (WHERE c.is_client AND s.state = 'active')::pg_catalog.int4 AS active,
    pg_catalog.count(*) FILTER (WHERE c.is_client AND s.state = 'idle')::pg_catalog.int4 AS idle,
    pg_catalog.count(*) FILTER (
        WHERE c.is_client AND s.state = 'idle in transaction'
    )::pg_catalog.int4 AS idle_in_transaction,
    pg_catalog.count(*) FILTER (
        WHERE c.is_client AND s.state = 'idle in transaction (aborted)'
    )::pg_catalog.int4 AS idle_in_transaction_aborted,
    pg_catalog.count(*) FILTER (
        WHERE c.is_client AND s.state = 'fastpath function call'
    )::pg_catalog.int4 AS fastpath_function_call,
    -- In seconds; NULL: no client but us has a transaction, or none that we may see.
    extract(
        EPOCH FROM pg_catalog.clock_timestamp() - pg_catalog.min(s.xact_start) FILTER (
            WHERE c.is_client AND s.pid <> pg_catalog.pg_backend_pid()
        )
    )::pg_catalog.float8 AS oldest_transaction,
    -- For how long the server was at it: worked out after all of the above.
    extract(
        EPOCH FROM pg_catalog.clock_timestamp() - pg_catalog.statement_timestamp()
    )::pg_catalog.float8 AS server_seconds
FROM pg_catalog.pg_stat_get_activity(NULL) AS s
CROSS JOIN LATERAL (
    -- A hidden session belongs to a client if it is in a database.
    SELECT coalesce(s.backend_type = 'client backend', s.datid IS NOT NULL) AS is_client
) AS c;
