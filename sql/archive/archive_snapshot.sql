-- No row. One snapshot of an incident; a repeated write changes nothing.
INSERT INTO pgdoctor_archive.snapshots (server, incident, at, body)
VALUES (
    %(server)s::pg_catalog.text, %(incident)s::pg_catalog.text,
    %(at)s::pg_catalog.timestamptz, %(body)s::pg_catalog.bytea
)
ON CONFLICT DO NOTHING;
