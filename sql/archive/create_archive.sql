-- No row. Creates the archive: incidents of many agents in one database. Run in one transaction.
-- What an agent's journal has is here record by record; `incidents` and `blockers` are made of it, for SQL and Grafana.
-- Tables are partitioned by month, so that old months are dropped at once. Times are those of the watched servers.
-- The comment of the schema has the version of the tables.
CREATE SCHEMA pgdoctor_archive;
COMMENT ON SCHEMA pgdoctor_archive IS 'pgdoctor archive, version 1';

CREATE TABLE pgdoctor_archive.records (
    server text NOT NULL,
    kind text NOT NULL,
    subject text NOT NULL,
    at timestamptz NOT NULL,
    digest text NOT NULL,
    body bytea NOT NULL,
    PRIMARY KEY (server, kind, subject, at, digest)
) PARTITION BY RANGE (at);
COMMENT ON TABLE pgdoctor_archive.records IS 'Events of incidents, actions and rehearsals, as JSON. No statement has a literal.';

CREATE TABLE pgdoctor_archive.snapshots (
    server text NOT NULL,
    incident text NOT NULL,
    at timestamptz NOT NULL,
    body bytea NOT NULL,
    PRIMARY KEY (server, incident, at)
) PARTITION BY RANGE (at);
COMMENT ON TABLE pgdoctor_archive.snapshots IS 'Snapshots of incidents, in the format of an agent''s journal.';

CREATE TABLE pgdoctor_archive.incidents (
    server text NOT NULL,
    incident text NOT NULL,
    started timestamptz NOT NULL,
    last_seen timestamptz NOT NULL,
    is_over boolean NOT NULL,
    name text,
    database text,
    host text,
    port integer,
    cluster_name text,
    class text NOT NULL,
    classes text[] NOT NULL,
    relation text,
    peak_blocked integer NOT NULL,
    blocked integer NOT NULL,
    seconds double precision NOT NULL,
    blocked_seconds double precision NOT NULL,
    longest_wait_seconds double precision NOT NULL,
    attempts integer NOT NULL,
    recommendation text NOT NULL,
    PRIMARY KEY (server, incident, started)
) PARTITION BY RANGE (started);
COMMENT ON TABLE pgdoctor_archive.incidents IS 'One row an incident, as of its latest record. server: the system identifier; name: in the agent''s configuration.';

CREATE TABLE pgdoctor_archive.blockers (
    server text NOT NULL,
    incident text NOT NULL,
    started timestamptz NOT NULL,
    place integer NOT NULL,
    name text,
    class text NOT NULL,
    relation text,
    application text,
    statement text,
    blocked_seconds double precision NOT NULL,
    peak_blocked integer NOT NULL,
    advice text NOT NULL,
    waiting bytea NOT NULL,
    PRIMARY KEY (server, incident, started, place)
) PARTITION BY RANGE (started);
COMMENT ON TABLE pgdoctor_archive.blockers IS 'The blocked time of each incident by what blocked: class, relation, application, statement without literals.';

CREATE INDEX incidents_by_start ON pgdoctor_archive.incidents (started);
CREATE INDEX blockers_by_start ON pgdoctor_archive.blockers (started);
CREATE INDEX snapshots_by_incident ON pgdoctor_archive.snapshots (incident);
CREATE INDEX records_by_subject ON pgdoctor_archive.records (subject);

-- Makes the partitions of the month of a moment. One session at a time: several agents may need a month first.
CREATE FUNCTION pgdoctor_archive.add_month(moment timestamptz) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    first timestamptz := pg_catalog.date_trunc('month', moment, 'UTC');
    next timestamptz := pg_catalog.date_trunc('month', first OPERATOR(pg_catalog.+) interval '32 days', 'UTC');
    parent text;
    child text;
BEGIN
    PERFORM pg_catalog.pg_advisory_xact_lock(7239481, 1);
    FOREACH parent IN ARRAY ARRAY['records', 'snapshots', 'incidents', 'blockers'] LOOP
        child := pg_catalog.format('%s_%s', parent, pg_catalog.to_char(pg_catalog.timezone('UTC', first), 'YYYY_MM'));
        IF pg_catalog.to_regclass(pg_catalog.format('pgdoctor_archive.%I', child)) IS NULL THEN
            EXECUTE pg_catalog.format(
                'CREATE TABLE pgdoctor_archive.%I PARTITION OF pgdoctor_archive.%I FOR VALUES FROM (%L) TO (%L)',
                child, parent, first, next
            );
        END IF;
    END LOOP;
END
$function$;

-- Drops the months that ended before a moment; how many tables.
CREATE FUNCTION pgdoctor_archive.drop_months(before timestamptz) RETURNS integer
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    child text;
    dropped integer := 0;
    newest text := pg_catalog.to_char(pg_catalog.timezone('UTC', before), 'YYYY_MM');
BEGIN
    IF NOT pg_catalog.pg_try_advisory_xact_lock(7239481, 1) THEN
        RETURN 0;
    END IF;
    FOR child IN
        SELECT c.relname FROM pg_catalog.pg_class AS c
        JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
        WHERE n.nspname OPERATOR(pg_catalog.=) 'pgdoctor_archive' AND c.relispartition
            AND c.relkind OPERATOR(pg_catalog.=) 'r'
            AND pg_catalog."right"(c.relname::text, 7) COLLATE "C" OPERATOR(pg_catalog.<) newest
    LOOP
        EXECUTE pg_catalog.format('DROP TABLE pgdoctor_archive.%I', child);
        dropped := dropped OPERATOR(pg_catalog.+) 1;
    END LOOP;
    RETURN dropped;
END
$function$;
