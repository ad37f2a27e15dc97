-- `signal_session` for a terminate, by the function of `pgdoctor setup --wrapper`, which checks everything itself: one
-- row if the session was signalled; none, and no signal, if it is no longer the one that was judged.
SELECT
    t.signalled_at,
    t.accepted
FROM (
    -- What all pgdoctors of our role share is what the decision was made with; else the function is not called at all.
    SELECT %(pid)s::pg_catalog.int4 AS pid
    FROM pg_catalog.pg_stat_get_activity(pg_catalog.pg_backend_pid()) AS own
    WHERE
        (
            SELECT pg_catalog.substr(i.item, pg_catalog.length('application_name=') + 1)
            FROM pg_catalog.pg_db_role_setting AS s
            CROSS JOIN LATERAL pg_catalog.unnest(s.setconfig) AS i (item)
            WHERE s.setdatabase = 0 AND s.setrole = own.usesysid AND pg_catalog.starts_with(i.item, 'application_name=')
        ) IS NOT DISTINCT FROM %(record)s::pg_catalog.text
    OFFSET 0
) AS told
CROSS JOIN LATERAL pgdoctor.terminate_session(
    told.pid,
    %(backend_start)s::pg_catalog.timestamptz,
    %(xact_start)s::pg_catalog.timestamptz,
    %(query_start)s::pg_catalog.timestamptz,
    %(state)s::pg_catalog.text,
    %(state_change)s::pg_catalog.timestamptz,
    %(min_wait)s::pg_catalog.float8,
    %(timeout_ms)s::pg_catalog.int8
) AS t;
