-- The same as `terminate`, by the function of `pgdoctor setup --wrapper`, which asks for it all itself: one row if the
-- session was told to end; none, and nobody signalled, if it is not any more the one that was judged.
SELECT
    t.signalled_at,
    t.accepted
FROM pgdoctor.terminate_session(
    %(pid)s::pg_catalog.int4,
    %(backend_start)s::pg_catalog.timestamptz,
    %(xact_start)s::pg_catalog.timestamptz,
    %(query_start)s::pg_catalog.timestamptz,
    %(state)s::pg_catalog.text,
    %(state_change)s::pg_catalog.timestamptz,
    %(min_wait)s::pg_catalog.float8,
    %(timeout_ms)s::pg_catalog.int8
) AS t;
