-- One row for each type of the asked names: whether it is a domain that checks its values, and the tables with a column
-- of it.
SELECT
    t.typname::pg_catalog.text AS name,
    t.typtype::pg_catalog.text AS kind,
    t.typrelid AS relation,
    t.typtype OPERATOR(pg_catalog.=) 'd' AND (
        t.typnotnull
        OR EXISTS (SELECT FROM pg_catalog.pg_constraint AS k WHERE k.contypid OPERATOR(pg_catalog.=) t.oid)
    ) AS is_checked,
    ARRAY(
        SELECT DISTINCT a.attrelid FROM pg_catalog.pg_attribute AS a
        JOIN pg_catalog.pg_class AS c ON c.oid OPERATOR(pg_catalog.=) a.attrelid
        WHERE
            a.atttypid OPERATOR(pg_catalog.=) t.oid
            AND NOT a.attisdropped
            AND c.relkind IN ('r', 'p', 'm', 'f')
    ) AS tables
FROM pg_catalog.pg_type AS t
JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) t.typnamespace
WHERE t.typname OPERATOR(pg_catalog.=) ANY (%(names)s::pg_catalog.name[])
LIMIT %(most)s;
