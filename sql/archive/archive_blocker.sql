-- No row. The share of an incident's blocked time that one blocker has, in place of an earlier version.
INSERT INTO pgdoctor_archive.blockers (
    server, incident, started, place, name, class, relation, application, statement, blocked_seconds, peak_blocked,
    advice, waiting
)
VALUES (
    %(server)s::pg_catalog.text, %(incident)s::pg_catalog.text, %(started)s::pg_catalog.timestamptz,
    %(place)s::pg_catalog.int4, %(name)s::pg_catalog.text, %(class)s::pg_catalog.text, %(relation)s::pg_catalog.text,
    %(application)s::pg_catalog.text, %(statement)s::pg_catalog.text, %(blocked_seconds)s::pg_catalog.float8,
    %(peak_blocked)s::pg_catalog.int4, %(advice)s::pg_catalog.text, %(waiting)s::pg_catalog.bytea
)
ON CONFLICT (server, incident, started, place) DO UPDATE SET
    name = excluded.name,
    class = excluded.class,
    relation = excluded.relation,
    application = excluded.application,
    statement = excluded.statement,
    blocked_seconds = excluded.blocked_seconds,
    peak_blocked = excluded.peak_blocked,
    advice = excluded.advice,
    waiting = excluded.waiting;
