-- `signal_by_person` for a terminate, by the function of `pgdoctor setup --wrapper`, which checks everything itself: one row if
-- the session was signalled; none, and no signal, if it is another by now, or if no session waits for it.
SELECT
    s.signalled_at,
    s.accepted
FROM pgdoctor.terminate_by_person(
    %(pid)s::pg_catalog.int4,
    %(backend_start)s::pg_catalog.timestamptz,
    %(xact_start)s::pg_catalog.timestamptz,
    %(query_start)s::pg_catalog.timestamptz,
    %(state)s::pg_catalog.text,
    %(state_change)s::pg_catalog.timestamptz,
    %(timeout_ms)s::pg_catalog.int8
) AS s;
