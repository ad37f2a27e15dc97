-- One row for each relation of the connected database whose entry in the catalog is of a transaction since then:
-- created, altered or rewritten; the latest first. What ANALYZE and VACUUM note there makes no new entry.
-- Reads all of pg_class, and so waits behind a lock on it.
SELECT
    c.oid,
    -- Entries of old have ids that were used again since; these lie in the future, and have an age below zero.
    c.xmin::pg_catalog.text::pg_catalog.int8 AS written_by,
    c.relkind::pg_catalog.text AS kind,
    pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname) AS name,
    c.relname::pg_catalog.text AS bare_name,
    i.indrelid AS table_oid,
    -- On a standby the setting says nothing of what was kept, and the function may fail.
    CASE
        WHEN pg_catalog.current_setting('track_commit_timestamp')::pg_catalog.bool AND NOT pg_catalog.pg_is_in_recovery()
        THEN pg_catalog.pg_xact_commit_timestamp(c.xmin)
    END AS committed
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_index AS i ON i.indexrelid = c.oid
WHERE
    pg_catalog.age(c.xmin) BETWEEN 0 AND pg_catalog.age(
        (%(since)s::pg_catalog.int8 %% 4294967296)::pg_catalog.text::pg_catalog.xid
    )
    AND c.relpersistence <> 't'
    AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'i', 'I')
    AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
ORDER BY pg_catalog.age(c.xmin), c.relkind DESC, c.oid
LIMIT %(most)s;
