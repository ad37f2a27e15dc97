-- One row for each index of a relation, named as in relations.sql, that is not valid: what a broken-off CONCURRENTLY
-- command leaves behind. Raw catalog columns, so that nothing waits for a lock on the table or the index.
SELECT
    pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(x.relname) AS name
FROM pg_catalog.pg_index AS i
JOIN pg_catalog.pg_class AS x ON x.oid = i.indexrelid
JOIN pg_catalog.pg_class AS c ON c.oid = i.indrelid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE
    NOT i.indisvalid
    -- The index of a partitioned table is not valid until each partition has one: its creation was not interrupted.
    AND x.relkind = 'i'
    AND pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname) = %(relation)s::pg_catalog.text
ORDER BY name;
