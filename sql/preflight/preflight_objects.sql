-- One row for each object that is no relation and has one of the asked names, whatever its schema: what object locks are
-- on. `classid`: the catalog that has it.
SELECT
    o.kind,
    o.classid::pg_catalog.regclass::pg_catalog.oid AS classid,
    o.oid,
    o.name::pg_catalog.text AS name,
    CASE
        WHEN o.schema_oid IS NULL THEN ''
        ELSE (
            SELECT n.nspname::pg_catalog.text FROM pg_catalog.pg_namespace AS n
            WHERE n.oid OPERATOR(pg_catalog.=) o.schema_oid
        )
    END AS schema,
    o.relation
FROM (
    SELECT 'type' AS kind, 'pg_catalog.pg_type' AS classid, t.oid, t.typname AS name, t.typnamespace AS schema_oid,
        0::pg_catalog.oid AS relation
    FROM pg_catalog.pg_type AS t
    WHERE t.typname OPERATOR(pg_catalog.=) ANY (%(names)s::pg_catalog.name[])
    UNION ALL
    SELECT 'function', 'pg_catalog.pg_proc', p.oid, p.proname, p.pronamespace, 0
    FROM pg_catalog.pg_proc AS p
    WHERE p.proname OPERATOR(pg_catalog.=) ANY (%(names)s::pg_catalog.name[])
    UNION ALL
    SELECT 'schema', 'pg_catalog.pg_namespace', n.oid, n.nspname, NULL, 0
    FROM pg_catalog.pg_namespace AS n
    WHERE n.nspname OPERATOR(pg_catalog.=) ANY (%(names)s::pg_catalog.name[])
    UNION ALL
    SELECT 'role', 'pg_catalog.pg_authid', r.oid, r.rolname, NULL, 0
    FROM pg_catalog.pg_roles AS r
    WHERE r.rolname OPERATOR(pg_catalog.=) ANY (%(names)s::pg_catalog.name[])
    UNION ALL
    SELECT 'database', 'pg_catalog.pg_database', d.oid, d.datname, NULL, 0
    FROM pg_catalog.pg_database AS d
    WHERE d.datname OPERATOR(pg_catalog.=) ANY (%(names)s::pg_catalog.name[])
    UNION ALL
    SELECT 'extension', 'pg_catalog.pg_extension', e.oid, e.extname, NULL, 0
    FROM pg_catalog.pg_extension AS e
    WHERE e.extname OPERATOR(pg_catalog.=) ANY (%(names)s::pg_catalog.name[])
    UNION ALL
    SELECT 'publication', 'pg_catalog.pg_publication', b.oid, b.pubname, NULL, 0
    FROM pg_catalog.pg_publication AS b
    WHERE b.pubname OPERATOR(pg_catalog.=) ANY (%(names)s::pg_catalog.name[])
    UNION ALL
    SELECT 'statistics', 'pg_catalog.pg_statistic_ext', s.oid, s.stxname, s.stxnamespace, s.stxrelid
    FROM pg_catalog.pg_statistic_ext AS s
    WHERE s.stxname OPERATOR(pg_catalog.=) ANY (%(names)s::pg_catalog.name[])
) AS o
LIMIT %(most)s;
