-- One row if the session that a person was shown was signalled; none, and no signal, if it is another by now.
--
-- For the commands `cancel` and `terminate` and the keys of `watch` alone: unlike the statements of mitigation it asks
-- neither for a waiter nor for leadership, since a person decides by what the confirmation says. What no person may do
-- is the same: no other session, no process of the server, no pgdoctor, no commit that waits for its standby.
-- Check and signal are one statement, in autocommit, and the session is checked twice; see `signal_session`.
-- A cancel is about the statement, which still runs; a terminate about the transaction, whatever it runs by now.
WITH victim AS MATERIALIZED (
    SELECT
        s.pid,
        s.query_start,
        b.id AS backend_id
    -- Never NULL: that would mean every session.
    FROM pg_catalog.pg_stat_get_activity(
        CASE WHEN pg_catalog.pg_stat_clear_snapshot() IS NOT NULL THEN %(pid)s::pg_catalog.int4 ELSE 0 END
    ) AS s
    JOIN pg_catalog.pg_stat_get_backend_idset() AS b (id) ON pg_catalog.pg_stat_get_backend_pid(b.id) = s.pid
    WHERE
        s.backend_start = %(backend_start)s::pg_catalog.timestamptz
        AND s.xact_start IS NOT DISTINCT FROM %(xact_start)s::pg_catalog.timestamptz
        AND CASE
            WHEN %(signal)s::pg_catalog.text = 'cancel'
                THEN
                    s.state = %(state)s::pg_catalog.text
                    AND s.query_start IS NOT DISTINCT FROM %(query_start)s::pg_catalog.timestamptz
            -- Outside of a transaction nothing lasts.
            WHEN s.xact_start IS NULL
                THEN
                    s.state_change = %(state_change)s::pg_catalog.timestamptz
                    AND s.query_start IS NOT DISTINCT FROM %(query_start)s::pg_catalog.timestamptz
            WHEN s.state <> 'active' OR s.query_start = %(query_start)s::pg_catalog.timestamptz THEN true
            -- A statement that the person was not shown: no COMMIT is to be hit. As bytes, as in `signal_session`.
            ELSE pg_catalog.texticregexne(
                pg_catalog.encode(pg_catalog.textsend(s.query), 'escape') COLLATE pg_catalog."C",
                '[[:<:]](commit|end|rollback|abort|prepare)[[:>:]]'
            )
        END
        AND s.backend_type = 'client backend'
        AND s.pid <> pg_catalog.pg_backend_pid()
        AND s.application_name IS DISTINCT FROM %(own_application)s::pg_catalog.text
        AND s.wait_event IS DISTINCT FROM 'SyncRep'
        AND NOT pg_catalog.pg_is_in_recovery()
)

SELECT
    pg_catalog.clock_timestamp() AS signalled_at,
    CASE
        WHEN
            pg_catalog.pg_stat_clear_snapshot() IS NOT NULL
            AND pg_catalog.pg_stat_get_backend_pid(v.backend_id) = v.pid
            AND pg_catalog.pg_stat_get_backend_activity_start(v.backend_id) IS NOT DISTINCT FROM v.query_start
            AND pg_catalog.pg_stat_get_backend_xact_start(v.backend_id)
            IS NOT DISTINCT FROM %(xact_start)s::pg_catalog.timestamptz
            THEN
                CASE %(signal)s::pg_catalog.text
                    WHEN 'cancel' THEN pg_catalog.pg_cancel_backend(v.pid)
                    WHEN 'terminate' THEN pg_catalog.pg_terminate_backend(v.pid, %(timeout_ms)s::pg_catalog.int8)
                END
    END AS accepted
FROM victim AS v;
