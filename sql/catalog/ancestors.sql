-- One row for each asked relation of the connected database and each table above it, by partition or by inheritance,
-- at any depth. A toast table has its table above it.
-- pg_partition_ancestors() would wait behind an AccessExclusiveLock on the table.
WITH RECURSIVE above (oid, ancestor_oid) AS (
    SELECT i.inhrelid, i.inhparent
    FROM pg_catalog.pg_inherits AS i
    WHERE i.inhrelid = ANY (%(oids)s::pg_catalog.oid[])
    UNION
    -- By its name: pg_class has no index on reltoastrelid.
    SELECT t.oid, c.oid
    FROM pg_catalog.pg_class AS t
    JOIN pg_catalog.pg_class AS c ON c.oid = CASE
        WHEN t.relname ~ '^pg_toast_[0-9]{1,10}$'
            THEN pg_catalog.substr(t.relname::pg_catalog.text, 10)::pg_catalog.oid
    END
    WHERE t.oid = ANY (%(oids)s::pg_catalog.oid[]) AND t.relkind = 't' AND c.reltoastrelid = t.oid
    UNION
    SELECT a.oid, i.inhparent
    FROM above AS a
    JOIN pg_catalog.pg_inherits AS i ON i.inhrelid = a.ancestor_oid
)

SELECT a.oid, pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname) AS name
FROM above AS a
JOIN pg_catalog.pg_class AS c ON c.oid = a.ancestor_oid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace;
