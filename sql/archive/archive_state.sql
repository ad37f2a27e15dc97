-- One row: what the archive's schema says of itself, null: there is none; and whether its content can be trusted.
-- Triggers, rules and views of another role would run as us: `is_ours` is for who writes, `has_only_tables` for who reads.
-- Its tables can be named only where they exist, so the catalog is asked.
SELECT
    pg_catalog.obj_description(n.oid, 'pg_namespace') AS description,
    pg_catalog.getdatabaseencoding() AS encoding,
    pg_catalog.pg_is_in_recovery() AS in_recovery,
    u.oid OPERATOR(pg_catalog.=) n.nspowner
    AND NOT EXISTS (
        SELECT FROM pg_catalog.pg_class AS c
        WHERE c.relnamespace OPERATOR(pg_catalog.=) n.oid AND c.relowner OPERATOR(pg_catalog.<>) u.oid
    )
    AND NOT EXISTS (
        SELECT FROM pg_catalog.pg_proc AS p
        WHERE p.pronamespace OPERATOR(pg_catalog.=) n.oid AND p.proowner OPERATOR(pg_catalog.<>) u.oid
    ) AS is_ours,
    NOT EXISTS (
        SELECT FROM pg_catalog.pg_class AS c
        WHERE
            c.relnamespace OPERATOR(pg_catalog.=) n.oid
            AND c.relkind OPERATOR(pg_catalog.<>) ALL ('{r,p,i,I}'::pg_catalog."char"[])
    ) AS has_only_tables
FROM pg_catalog.pg_roles AS u
LEFT JOIN pg_catalog.pg_namespace AS n ON n.nspname OPERATOR(pg_catalog.=) 'pgdoctor_archive'
WHERE u.rolname OPERATOR(pg_catalog.=) current_user;
