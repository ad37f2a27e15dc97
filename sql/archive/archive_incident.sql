-- No row. An incident as of its latest record; an older record does not replace a newer one.
INSERT INTO pgdoctor_archive.incidents AS known (
    server, incident, started, last_seen, is_over, name, database, host, port, cluster_name, class, classes, relation,
    peak_blocked, blocked, seconds, blocked_seconds, longest_wait_seconds, attempts, recommendation
)
VALUES (
    %(server)s::pg_catalog.text, %(incident)s::pg_catalog.text, %(started)s::pg_catalog.timestamptz,
    %(last_seen)s::pg_catalog.timestamptz, %(is_over)s::pg_catalog.bool, %(name)s::pg_catalog.text,
    %(database)s::pg_catalog.text, %(host)s::pg_catalog.text, %(port)s::pg_catalog.int4,
    %(cluster_name)s::pg_catalog.text, %(class)s::pg_catalog.text, %(classes)s::pg_catalog.text[],
    %(relation)s::pg_catalog.text, %(peak_blocked)s::pg_catalog.int4, %(blocked)s::pg_catalog.int4,
    %(seconds)s::pg_catalog.float8, %(blocked_seconds)s::pg_catalog.float8,
    %(longest_wait_seconds)s::pg_catalog.float8, %(attempts)s::pg_catalog.int4,
    %(recommendation)s::pg_catalog.text
)
ON CONFLICT (server, incident, started) DO UPDATE SET
    last_seen = excluded.last_seen,
    is_over = excluded.is_over,
    name = excluded.name,
    database = excluded.database,
    host = excluded.host,
    port = excluded.port,
    cluster_name = excluded.cluster_name,
    class = excluded.class,
    classes = excluded.classes,
    relation = excluded.relation,
    peak_blocked = excluded.peak_blocked,
    blocked = excluded.blocked,
    seconds = excluded.seconds,
    blocked_seconds = excluded.blocked_seconds,
    longest_wait_seconds = excluded.longest_wait_seconds,
    attempts = excluded.attempts,
    recommendation = excluded.recommendation
WHERE known.last_seen OPERATOR(pg_catalog.<=) excluded.last_seen;
