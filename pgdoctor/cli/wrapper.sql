
-- Signals without pg_signal_backend: functions that check the session of a client again, on the server, and then signal
-- it. An attacker with pgdoctor's role can do no more than these functions allow.
-- They belong to one database: run this in each database that pgdoctor connects to.
-- REVOKE pg_signal_backend FROM pgdoctor_signaller; is the emergency brake: it takes effect at once in all databases.
BEGIN;

DO $$
DECLARE
    somebody pg_catalog.text;
BEGIN
    -- Another role may have created the schema or the role before, and would get these rights.
    SELECT n.nspowner::pg_catalog.regrole INTO somebody
    FROM pg_catalog.pg_namespace AS n
    JOIN pg_catalog.pg_roles AS r ON r.oid = n.nspowner
    WHERE n.nspname = 'pgdoctor' AND NOT r.rolsuper AND r.rolname <> CURRENT_USER;
    IF FOUND THEN
        RAISE 'the schema pgdoctor belongs to %: drop it, or make a superuser its owner', somebody;
    END IF;
    SELECT r.rolname INTO somebody
    FROM pg_catalog.pg_auth_members AS m
    JOIN pg_catalog.pg_roles AS g ON g.oid = m.roleid
    JOIN pg_catalog.pg_roles AS r ON r.oid = m.member
    WHERE g.rolname = 'pgdoctor_signaller' AND NOT r.rolsuper AND r.rolname <> CURRENT_USER;
    IF FOUND THEN
        RAISE '% is a member of pgdoctor_signaller, which may signal: revoke that', somebody;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'pgdoctor_signaller') THEN
        CREATE ROLE pgdoctor_signaller;
    END IF;
END
$$;
-- It owns the functions and cannot log in. It is not a superuser, so sessions of superusers cannot be signalled.
ALTER ROLE pgdoctor_signaller NOLOGIN NOSUPERUSER INHERIT;
GRANT pg_signal_backend, pg_read_all_stats TO pgdoctor_signaller;
REVOKE pg_signal_backend FROM {role};

CREATE SCHEMA IF NOT EXISTS pgdoctor;
ALTER SCHEMA pgdoctor OWNER TO CURRENT_USER;
REVOKE ALL ON SCHEMA pgdoctor FROM PUBLIC;
GRANT USAGE ON SCHEMA pgdoctor TO {role}, pgdoctor_signaller;

-- Dropped first, because a replaced function keeps its grants.
DROP FUNCTION IF EXISTS pgdoctor.cancel_session(
    int4, timestamptz, timestamptz, timestamptz, text, timestamptz, float8
);
DROP FUNCTION IF EXISTS pgdoctor.terminate_session(
    int4, timestamptz, timestamptz, timestamptz, text, timestamptz, float8, int8
);
DROP FUNCTION IF EXISTS pgdoctor.cancel_by_person(int4, timestamptz, timestamptz, timestamptz, text, timestamptz);
DROP FUNCTION IF EXISTS pgdoctor.terminate_by_person(
    int4, timestamptz, timestamptz, timestamptz, text, timestamptz, int8
);
DROP FUNCTION IF EXISTS pgdoctor.cancel_judged(
    int4, timestamptz, timestamptz, timestamptz, text, timestamptz, float8, bool
);
DROP FUNCTION IF EXISTS pgdoctor.terminate_judged(
    int4, timestamptz, timestamptz, timestamptz, text, timestamptz, float8, int8, bool
);
-- As earlier versions made it.
DROP FUNCTION IF EXISTS pgdoctor.judged_session(
    int4, timestamptz, timestamptz, timestamptz, text, timestamptz, float8
);
DROP FUNCTION IF EXISTS pgdoctor.judged_session(
    int4, timestamptz, timestamptz, timestamptz, text, timestamptz, float8, bool
);

-- The session's internal backend number, and the start of its statement. NULL if the session has changed since it was
-- judged, if no session waits for it, or if the caller is not the leader. Raises 42501 for protected sessions.
-- `by_person`: the caller need not lead. Leadership keeps two agents from acting at once, and keeps out no attacker: with
-- the role's password he can end the agent's session and take the lock.
CREATE FUNCTION pgdoctor.judged_session(
    victim_pid pg_catalog.int4,
    victim_backend_start pg_catalog.timestamptz,
    victim_xact_start pg_catalog.timestamptz,
    victim_query_start pg_catalog.timestamptz,
    victim_state pg_catalog.text,
    victim_state_change pg_catalog.timestamptz,
    min_wait pg_catalog.float8,
    by_person pg_catalog.bool,
    OUT backend_id pg_catalog.int4,
    OUT query_start pg_catalog.timestamptz
)
LANGUAGE plpgsql VOLATILE SECURITY INVOKER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    victim record;
    waiter_pids int4[];
    -- Shorter waits are excluded: the server checks for a deadlock first.
    shortest interval := make_interval(secs => greatest(
        min_wait, extract(epoch FROM current_setting('deadlock_timeout')::interval)::float8
    ));
    -- The rest of the statement after its leading comments; the rest of a comment; its depth of nesting.
    left_over text;
    inside text;
    depth int4;
BEGIN
    -- A session must wait for it, and the caller's session must hold the leader lock. An attacker with the caller's role
    -- could wait for any session, so its waits do not count. Nor do waits for the end of a transaction, as of
    -- CONCURRENTLY commands: they block no reader or writer, and need no privilege.
    SELECT array_agg(DISTINCT coalesce(CASE WHEN w.backend_type = 'parallel worker' THEN w.leader_pid END, w.pid))
    INTO waiter_pids
    FROM pg_lock_status() AS l
    JOIN pg_stat_get_activity(NULL) AS w ON w.pid = l.pid
    WHERE
        NOT l.granted
        AND l.locktype <> 'virtualxid'
        AND l.waitstart <= clock_timestamp() - shortest
        AND w.usesysid <> (SELECT r.oid FROM pg_roles AS r WHERE r.rolname = session_user)
        AND victim_pid = ANY (pg_blocking_pids(l.pid));
    IF waiter_pids IS NULL THEN
        RETURN;
    END IF;
    -- Any session can queue behind a table lock. If the role pgdoctor_waiters exists, only waits of its members count;
    -- otherwise waits of sessions with a privilege on the table.
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'pgdoctor_waiters') THEN
        PERFORM FROM pg_stat_get_activity(NULL) AS w
        JOIN pg_roles AS r ON r.rolname = 'pgdoctor_waiters'
        WHERE w.pid = ANY (waiter_pids) AND pg_has_role(w.usesysid, r.oid, 'MEMBER');
    ELSE
        PERFORM FROM (
{waiter_rights}
        ) AS w
        WHERE w.objection IS NULL;
    END IF;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    IF NOT by_person THEN
        PERFORM FROM pg_lock_status() AS l
        WHERE
            l.granted
            AND l.locktype = 'advisory'
            AND l.pid = pg_backend_pid()
            AND l.objsubid = 1
            AND l.classid::int8 = {leader_key} >> 32
            AND l.objid::int8 & 7 = {leader_key} & 7;
        IF NOT FOUND THEN
            RETURN;
        END IF;
        -- No other pgdoctor may be the leader, in any database. A lock of a stranger with that key has no effect.
        PERFORM FROM pg_lock_status() AS l
        CROSS JOIN LATERAL pg_stat_get_activity(pg_backend_pid()) AS o
        LEFT JOIN LATERAL pg_stat_get_activity(l.pid) AS s ON true
        WHERE
            l.granted
            AND l.locktype = 'advisory'
            AND l.pid <> pg_backend_pid()
            AND l.objsubid = 1
            AND l.classid::int8 = {leader_key} >> 32
            AND l.objid::int8 & 7 = {leader_key} & 7
            AND CASE
                WHEN s.pid IS NULL THEN true
                WHEN s.application_name IS DISTINCT FROM 'pgdoctor' THEN false
                ELSE s.usesysid = o.usesysid OR pg_has_role(s.usesysid, 'pg_signal_backend', 'USAGE')
            END;
        IF FOUND THEN
            RETURN;
        END IF;
    END IF;

    -- Within a transaction the activity is a cached copy.
    PERFORM pg_stat_clear_snapshot();
    SELECT s.pid, s.usesysid, s.application_name, s.query, s.query_start, b.id INTO victim
    FROM pg_stat_get_activity(victim_pid) AS s
    JOIN pg_stat_get_backend_idset() AS b (id) ON pg_stat_get_backend_pid(b.id) = s.pid
    WHERE
        s.backend_start = victim_backend_start
        AND s.xact_start IS NOT DISTINCT FROM victim_xact_start
        AND s.state = victim_state
        AND CASE
            WHEN victim_state_change IS NOT NULL THEN
                s.query_start IS NOT DISTINCT FROM victim_query_start AND s.state_change = victim_state_change
            -- A terminate concerns a transaction and any statement in it; outside of one it has no purpose. It must not
            -- hit a COMMIT. As bytes: text functions may refuse a statement in another encoding.
            WHEN s.xact_start IS NULL OR victim_query_start IS NULL THEN false
            WHEN s.state <> 'active' OR s.query_start = victim_query_start THEN true
            ELSE texticregexne(
                encode(textsend(s.query), 'escape') COLLATE "C",
                'pgdoctor:protect|[[:<:]](commit|end|rollback|abort|prepare|call|do)[[:>:]]'
            )
        END
        -- Not the server's own processes: a cancelled apply worker may disable its subscription.
        AND s.backend_type = 'client backend'
        AND s.pid <> pg_backend_pid()
        AND s.application_name IS DISTINCT FROM 'pgdoctor'
        -- A commit that waits for its standby: after a signal the server would report a wrong result.
        AND s.wait_event IS DISTINCT FROM 'SyncRep'
        AND NOT pg_is_in_recovery();
    IF NOT FOUND THEN
        RETURN;
    END IF;

    IF EXISTS (SELECT FROM pg_roles AS r WHERE r.oid = victim.usesysid AND r.rolsuper) THEN
        RAISE insufficient_privilege USING MESSAGE = 'never signalled: it is a superuser''s session';
    END IF;
    IF EXISTS (
        SELECT FROM pg_roles AS r
        WHERE r.rolname = 'pgdoctor_protected' AND pg_has_role(victim.usesysid, r.oid, 'MEMBER')
    ) THEN
        RAISE insufficient_privilege USING MESSAGE = 'never signalled: its user is a member of pgdoctor_protected';
    END IF;
    IF victim.application_name ~* '^({backups})(?![A-Za-z0-9])' THEN
        RAISE insufficient_privilege USING MESSAGE = 'never signalled: it is a backup';
    END IF;
    IF position('{marker}' IN victim.application_name) > 0 THEN
        RAISE insufficient_privilege USING MESSAGE = 'never signalled: it asks for protection';
    END IF;
    -- The marker in a comment before the first keyword, and nowhere else. As bytes: the text may have any encoding. Only
    -- the first 4096 bytes, to bound the time; if the comments are longer, the whole text counts.
    IF position('{marker}' IN encode(textsend(victim.query), 'escape')) > 0 THEN
        left_over := encode(substring(textsend(victim.query), 1, 4096), 'escape');
        LOOP
            left_over := ltrim(left_over, E' \t\n\r\f\v');
            IF starts_with(left_over, '--') THEN
                left_over := substr(left_over, length(split_part(translate(left_over, E'\r', E'\n'), E'\n', 1)) + 1);
            ELSIF starts_with(left_over, '/*') THEN
                inside := substr(left_over, 3);
                depth := 1;
                WHILE depth > 0 AND position('*/' IN inside) > 0 LOOP
                    IF position('/*' IN inside) BETWEEN 1 AND position('*/' IN inside) THEN
                        inside := substr(inside, position('/*' IN inside) + 2);
                        depth := depth + 1;
                    ELSE
                        inside := substr(inside, position('*/' IN inside) + 2);
                        depth := depth - 1;
                    END IF;
                END LOOP;
                left_over := CASE WHEN depth > 0 THEN '' ELSE inside END;
            ELSE
                EXIT;
            END IF;
        END LOOP;
        IF left_over = '' OR position('{marker}' IN left(
            encode(substring(textsend(victim.query), 1, 4096), 'escape'), - length(left_over)
        )) > 0 THEN
            RAISE insufficient_privilege USING MESSAGE = 'never signalled: it asks for protection';
        END IF;
    END IF;
    backend_id := victim.id;
    query_start := victim.query_start;
END
$$;

-- One row if the session was cancelled. No row, and no signal, if the session has changed since it was judged.
CREATE FUNCTION pgdoctor.cancel_judged(
    victim_pid pg_catalog.int4,
    victim_backend_start pg_catalog.timestamptz,
    victim_xact_start pg_catalog.timestamptz,
    victim_query_start pg_catalog.timestamptz,
    victim_state pg_catalog.text,
    victim_state_change pg_catalog.timestamptz,
    min_wait pg_catalog.float8,
    by_person pg_catalog.bool
) RETURNS TABLE (signalled_at pg_catalog.timestamptz, accepted pg_catalog.bool)
LANGUAGE plpgsql VOLATILE SECURITY INVOKER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    judged record;
BEGIN
    SELECT j.backend_id, j.query_start INTO judged
    FROM pgdoctor.judged_session(
        victim_pid, victim_backend_start, victim_xact_start, victim_query_start, victim_state, victim_state_change,
        min_wait, by_person
    ) AS j;
    -- As the last step, check again that it is still the same statement.
    PERFORM pg_stat_clear_snapshot();
    IF
        pg_stat_get_backend_pid(judged.backend_id) = victim_pid
        AND pg_stat_get_backend_activity_start(judged.backend_id) IS NOT DISTINCT FROM victim_query_start
        AND pg_stat_get_backend_xact_start(judged.backend_id) IS NOT DISTINCT FROM victim_xact_start
    THEN
        accepted := pg_cancel_backend(victim_pid);
        signalled_at := clock_timestamp();
        RETURN NEXT;
    END IF;
END
$$;

-- One row if the session was terminated. `victim_state_change` NULL: at any time of the transaction in that state.
-- `timeout_ms`: how long to wait for its end, at most 5 s.
CREATE FUNCTION pgdoctor.terminate_judged(
    victim_pid pg_catalog.int4,
    victim_backend_start pg_catalog.timestamptz,
    victim_xact_start pg_catalog.timestamptz,
    victim_query_start pg_catalog.timestamptz,
    victim_state pg_catalog.text,
    victim_state_change pg_catalog.timestamptz,
    min_wait pg_catalog.float8,
    timeout_ms pg_catalog.int8,
    by_person pg_catalog.bool
) RETURNS TABLE (signalled_at pg_catalog.timestamptz, accepted pg_catalog.bool)
LANGUAGE plpgsql VOLATILE SECURITY INVOKER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    judged record;
    patience int8 := least(greatest(timeout_ms, 0), 5000);
BEGIN
    SELECT j.backend_id, j.query_start INTO judged
    FROM pgdoctor.judged_session(
        victim_pid, victim_backend_start, victim_xact_start, victim_query_start, victim_state, victim_state_change,
        min_wait, by_person
    ) AS j;
    PERFORM pg_stat_clear_snapshot();
    IF
        pg_stat_get_backend_pid(judged.backend_id) = victim_pid
        AND pg_stat_get_backend_activity_start(judged.backend_id) IS NOT DISTINCT FROM judged.query_start
        AND pg_stat_get_backend_xact_start(judged.backend_id) IS NOT DISTINCT FROM victim_xact_start
    THEN
        signalled_at := clock_timestamp();
        accepted := pg_terminate_backend(victim_pid, patience);
        RETURN NEXT;
    END IF;
END
$$;

-- For agents: the session whose wait is long enough, if the caller leads.
CREATE FUNCTION pgdoctor.cancel_session(
    victim_pid pg_catalog.int4,
    victim_backend_start pg_catalog.timestamptz,
    victim_xact_start pg_catalog.timestamptz,
    victim_query_start pg_catalog.timestamptz,
    victim_state pg_catalog.text,
    victim_state_change pg_catalog.timestamptz,
    min_wait pg_catalog.float8
) RETURNS TABLE (signalled_at pg_catalog.timestamptz, accepted pg_catalog.bool)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN QUERY SELECT j.signalled_at, j.accepted
    FROM pgdoctor.cancel_judged(
        victim_pid, victim_backend_start, victim_xact_start, victim_query_start, victim_state, victim_state_change,
        min_wait, false
    ) AS j;
END
$$;

-- The same, to terminate it.
CREATE FUNCTION pgdoctor.terminate_session(
    victim_pid pg_catalog.int4,
    victim_backend_start pg_catalog.timestamptz,
    victim_xact_start pg_catalog.timestamptz,
    victim_query_start pg_catalog.timestamptz,
    victim_state pg_catalog.text,
    victim_state_change pg_catalog.timestamptz,
    min_wait pg_catalog.float8,
    timeout_ms pg_catalog.int8
) RETURNS TABLE (signalled_at pg_catalog.timestamptz, accepted pg_catalog.bool)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN QUERY SELECT j.signalled_at, j.accepted
    FROM pgdoctor.terminate_judged(
        victim_pid, victim_backend_start, victim_xact_start, victim_query_start, victim_state, victim_state_change,
        min_wait, timeout_ms, false
    ) AS j;
END
$$;

-- For `pgdoctor cancel`: the session that a person was shown, if another one waits for it.
CREATE FUNCTION pgdoctor.cancel_by_person(
    victim_pid pg_catalog.int4,
    victim_backend_start pg_catalog.timestamptz,
    victim_xact_start pg_catalog.timestamptz,
    victim_query_start pg_catalog.timestamptz,
    victim_state pg_catalog.text,
    victim_state_change pg_catalog.timestamptz
) RETURNS TABLE (signalled_at pg_catalog.timestamptz, accepted pg_catalog.bool)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN QUERY SELECT j.signalled_at, j.accepted
    FROM pgdoctor.cancel_judged(
        victim_pid, victim_backend_start, victim_xact_start, victim_query_start, victim_state, victim_state_change,
        0, true
    ) AS j;
END
$$;

-- For `pgdoctor terminate`.
CREATE FUNCTION pgdoctor.terminate_by_person(
    victim_pid pg_catalog.int4,
    victim_backend_start pg_catalog.timestamptz,
    victim_xact_start pg_catalog.timestamptz,
    victim_query_start pg_catalog.timestamptz,
    victim_state pg_catalog.text,
    victim_state_change pg_catalog.timestamptz,
    timeout_ms pg_catalog.int8
) RETURNS TABLE (signalled_at pg_catalog.timestamptz, accepted pg_catalog.bool)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN QUERY SELECT j.signalled_at, j.accepted
    FROM pgdoctor.terminate_judged(
        victim_pid, victim_backend_start, victim_xact_start, victim_query_start, victim_state, victim_state_change,
        0, timeout_ms, true
    ) AS j;
END
$$;

ALTER FUNCTION pgdoctor.judged_session(
    int4, timestamptz, timestamptz, timestamptz, text, timestamptz, float8, bool
) OWNER TO pgdoctor_signaller;
ALTER FUNCTION pgdoctor.cancel_judged(
    int4, timestamptz, timestamptz, timestamptz, text, timestamptz, float8, bool
) OWNER TO pgdoctor_signaller;
ALTER FUNCTION pgdoctor.terminate_judged(
    int4, timestamptz, timestamptz, timestamptz, text, timestamptz, float8, int8, bool
) OWNER TO pgdoctor_signaller;
ALTER FUNCTION pgdoctor.cancel_session(
    int4, timestamptz, timestamptz, timestamptz, text, timestamptz, float8
) OWNER TO pgdoctor_signaller;
ALTER FUNCTION pgdoctor.terminate_session(
    int4, timestamptz, timestamptz, timestamptz, text, timestamptz, float8, int8
) OWNER TO pgdoctor_signaller;
ALTER FUNCTION pgdoctor.cancel_by_person(
    int4, timestamptz, timestamptz, timestamptz, text, timestamptz
) OWNER TO pgdoctor_signaller;
ALTER FUNCTION pgdoctor.terminate_by_person(
    int4, timestamptz, timestamptz, timestamptz, text, timestamptz, int8
) OWNER TO pgdoctor_signaller;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA pgdoctor FROM PUBLIC;
{revoke_given}
GRANT EXECUTE ON FUNCTION pgdoctor.cancel_session(
    int4, timestamptz, timestamptz, timestamptz, text, timestamptz, float8
) TO {role};
GRANT EXECUTE ON FUNCTION pgdoctor.terminate_session(
    int4, timestamptz, timestamptz, timestamptz, text, timestamptz, float8, int8
) TO {role};
GRANT EXECUTE ON FUNCTION pgdoctor.cancel_by_person(
    int4, timestamptz, timestamptz, timestamptz, text, timestamptz
) TO {role};
GRANT EXECUTE ON FUNCTION pgdoctor.terminate_by_person(
    int4, timestamptz, timestamptz, timestamptz, text, timestamptz, int8
) TO {role};

COMMIT;
