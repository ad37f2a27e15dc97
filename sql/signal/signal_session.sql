-- One row if the session was signalled; none, and no signal, if it is no longer the one that was judged.
--
-- `signal`: 'cancel' or 'terminate'; after any other text nothing is sent. A cancel needs the very statement that was
-- judged. So does a terminate with a `state_change`; if that is NULL, any moment of the same transaction will do, in
-- the same state.
-- Check and signal are one statement, in autocommit: between a check and a signal by PID alone a busy session has
-- moved on to its next statement (measured at 20 ms: the wrong one in nine of ten), and within a transaction the
-- activity is a cached copy. Where an element is hidden from our role it is NULL, and there is no row.
-- The costly questions come first. The check of the session comes twice: once for all that is known of it, and again as
-- the very last thing, for what tells one statement from the next; from there to the signal it is some microseconds.
-- The activity function and not the view: the view waits behind locks on pg_authid and pg_database.
WITH locks AS MATERIALIZED (
    SELECT
        l.pid,
        l.granted,
        l.waitstart
    FROM pg_catalog.pg_lock_status() AS l
    WHERE
        NOT l.granted
        OR (
            -- Leader locks: those keys begin alike and have the same three last bits (see leader.py).
            l.locktype = 'advisory'
            AND l.objsubid = 1
            AND l.classid::pg_catalog.int8 = %(leader_key)s::pg_catalog.int8 >> 32
            AND l.objid::pg_catalog.int8 & 7 = %(leader_key)s::pg_catalog.int8 & 7
        )
),

-- What all pgdoctors of our role share is what the decision was made with: no brake was set meanwhile, and no signal
-- sent.
told AS MATERIALIZED (
    SELECT
    FROM pg_catalog.pg_stat_get_activity(pg_catalog.pg_backend_pid()) AS a
    WHERE
        (
            SELECT pg_catalog.substr(c.item, pg_catalog.length('application_name=') + 1)
            FROM pg_catalog.pg_db_role_setting AS s
            CROSS JOIN LATERAL pg_catalog.unnest(s.setconfig) AS c (item)
            WHERE s.setdatabase = 0 AND s.setrole = a.usesysid AND pg_catalog.starts_with(c.item, 'application_name=')
        ) IS NOT DISTINCT FROM %(record)s::pg_catalog.text
),

-- A session still waits for it. A parallel worker waits for its leader, and a leader is named for its workers.
awaited AS MATERIALIZED (
    SELECT %(pid)s::pg_catalog.int4 AS pid
    FROM locks AS w
    WHERE
        NOT w.granted
        -- One of those whose waits count.
        AND (
            %(waiting_pids)s::pg_catalog.int4[] IS NULL
            OR w.pid = ANY (%(waiting_pids)s::pg_catalog.int4[])
        )
        -- Waits whose beginning the server has not written yet do not count.
        AND w.waitstart
        <= pg_catalog.clock_timestamp() - pg_catalog.make_interval(secs => %(min_wait)s::pg_catalog.float8)
        -- It is this very session that leads: who lost the leader lock signals no session.
        AND EXISTS (SELECT FROM locks AS l WHERE l.granted AND l.pid = pg_catalog.pg_backend_pid())
        -- And no other pgdoctor, in whatever database. The lock of a stranger under that key says nothing.
        AND NOT EXISTS (
            SELECT FROM locks AS l
            CROSS JOIN LATERAL pg_catalog.pg_stat_get_activity(pg_catalog.pg_backend_pid()) AS o
            LEFT JOIN LATERAL pg_catalog.pg_stat_get_activity(l.pid) AS s ON true
            WHERE
                l.granted
                AND l.pid <> pg_catalog.pg_backend_pid()
                AND CASE
                    WHEN s.pid IS NULL THEN true
                    WHEN s.application_name IS DISTINCT FROM %(own_application)s::pg_catalog.text THEN false
                    ELSE s.usesysid = o.usesysid
                    OR pg_catalog.pg_has_role(s.usesysid, 'pg_signal_backend', 'USAGE')
                END
        )
        AND EXISTS (SELECT FROM told)
        AND %(pid)s::pg_catalog.int4 = ANY (pg_catalog.pg_blocking_pids(w.pid))
    LIMIT 1
),

victim AS MATERIALIZED (
    SELECT
        s.pid,
        s.query_start,
        b.id AS backend_id
    FROM awaited AS a
    -- Read again, for the leaders were looked up in it. Never NULL: that would mean every session.
    CROSS JOIN LATERAL pg_catalog.pg_stat_get_activity(
        CASE WHEN pg_catalog.pg_stat_clear_snapshot() IS NOT NULL THEN a.pid ELSE 0 END
    ) AS s
    JOIN pg_catalog.pg_stat_get_backend_idset() AS b (id) ON pg_catalog.pg_stat_get_backend_pid(b.id) = s.pid
    WHERE
        s.backend_start = %(backend_start)s::pg_catalog.timestamptz
        AND s.xact_start IS NOT DISTINCT FROM %(xact_start)s::pg_catalog.timestamptz
        AND s.state = %(state)s::pg_catalog.text
        AND CASE
            WHEN
                %(signal)s::pg_catalog.text IS DISTINCT FROM 'terminate'
                OR %(state_change)s::pg_catalog.timestamptz IS NOT NULL
                THEN
                    s.query_start IS NOT DISTINCT FROM %(query_start)s::pg_catalog.timestamptz
                    AND s.state_change = %(state_change)s::pg_catalog.timestamptz
            -- It is about the transaction, whatever runs in it: a session that says `select 1` now and then holds its
            -- locks all the same. Outside of a transaction nothing lasts.
            WHEN s.xact_start IS NULL OR %(query_start)s::pg_catalog.timestamptz IS NULL THEN false
            WHEN s.state <> 'active' OR s.query_start = %(query_start)s::pg_catalog.timestamptz THEN true
            -- It runs a statement that was not judged: no COMMIT may be hit, and no session that is to be spared. As
            -- bytes, for functions of text may refuse the statement of a session in a database of another encoding.
            ELSE pg_catalog.texticregexne(
                pg_catalog.encode(pg_catalog.textsend(s.query), 'escape') COLLATE pg_catalog."C",
                'pgdoctor:protect|[[:<:]](commit|end|rollback|abort|prepare|call|do)[[:>:]]'
            )
        END
        -- Not the server's own processes: a cancelled apply worker may disable its subscription for good.
        AND s.backend_type = 'client backend'
        AND s.pid <> pg_catalog.pg_backend_pid()
        AND s.application_name IS DISTINCT FROM %(own_application)s::pg_catalog.text
        -- A commit that waits for its standby would be reported as done, or be done and reported as failed.
        AND s.wait_event IS DISTINCT FROM 'SyncRep'
        AND NOT pg_catalog.pg_is_in_recovery()
)

SELECT
    pg_catalog.clock_timestamp() AS signalled_at,
    CASE
        -- The second check. A CASE asks in this order, and for one session these functions cost next to nothing. The
        -- identifier of a backend may be another one's after the first check: its PID and its times say whose it is.
        WHEN
            pg_catalog.pg_stat_clear_snapshot() IS NOT NULL
            AND pg_catalog.pg_stat_get_backend_pid(v.backend_id) = v.pid
            AND pg_catalog.pg_stat_get_backend_activity_start(v.backend_id) IS NOT DISTINCT FROM v.query_start
            AND pg_catalog.pg_stat_get_backend_xact_start(v.backend_id)
            IS NOT DISTINCT FROM %(xact_start)s::pg_catalog.timestamptz
            THEN
                -- The parameter was known before, so nothing more is read between the second check and the signal.
                CASE %(signal)s::pg_catalog.text
                    WHEN 'cancel' THEN pg_catalog.pg_cancel_backend(v.pid)
                    -- Waits a moment for its end, so that the next snapshot does not find it still there.
                    WHEN 'terminate' THEN pg_catalog.pg_terminate_backend(v.pid, %(timeout_ms)s::pg_catalog.int8)
                END
    END AS accepted
FROM victim AS v;
