-- One row for each asked role, database and relation that there is; relations of the connected database.
-- For pgdoctors that may signal: the names in protections. It waits behind a lock on pg_authid, as role_names.sql does.
SELECT
    'role' AS kind,
    r.rolname::pg_catalog.text AS name,
    r.rolcanlogin AS can_login,
    NULL::pg_catalog.text AS relation_kind
FROM pg_catalog.pg_roles AS r
WHERE r.rolname::pg_catalog.text = ANY (%(roles)s::pg_catalog.text[])
UNION ALL
SELECT 'database', d.datname::pg_catalog.text, NULL, NULL
FROM pg_catalog.pg_database AS d
WHERE d.datname::pg_catalog.text = ANY (%(databases)s::pg_catalog.text[])
UNION ALL
SELECT
    'relation',
    pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname),
    NULL,
    c.relkind::pg_catalog.text
FROM ROWS FROM (
    pg_catalog.unnest(%(schemas)s::pg_catalog.text[]), pg_catalog.unnest(%(relations)s::pg_catalog.text[])
) AS w (schema_name, relation_name)
JOIN pg_catalog.pg_namespace AS n ON n.nspname = w.schema_name::pg_catalog.name
JOIN pg_catalog.pg_class AS c ON c.relnamespace = n.oid AND c.relname = w.relation_name::pg_catalog.name;
