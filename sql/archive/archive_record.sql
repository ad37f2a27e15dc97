-- No row. One record of a journal; a repeated write changes nothing.
INSERT INTO pgdoctor_archive.records (server, kind, subject, at, digest, body)
VALUES (
    %(server)s::pg_catalog.text, %(kind)s::pg_catalog.text, %(subject)s::pg_catalog.text,
    %(at)s::pg_catalog.timestamptz, %(digest)s::pg_catalog.text, %(body)s::pg_catalog.bytea
)
ON CONFLICT DO NOTHING;
