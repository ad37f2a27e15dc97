-- One row: whether our role may use both functions of `pgdoctor setup --stats`, and whether these are they: they run with
-- the rights of pgdoctor_statistics, which may read the statistics and cannot log in. See wrapper.sql.
SELECT pg_catalog.count(*) = 2 AS is_usable
FROM pg_catalog.pg_namespace AS n
CROSS JOIN
    LATERAL (
        VALUES
        (n.nspname || '.column_statistics(oid, int2, bool)'),
        (n.nspname || '.value_share(oid, int2, bool, bytea)')
    ) AS wanted (signature)
JOIN pg_catalog.pg_proc AS p ON p.oid = pg_catalog.to_regprocedure(wanted.signature)
JOIN pg_catalog.pg_roles AS o ON o.oid = p.proowner
WHERE
    n.nspname = 'pgdoctor'
    AND pg_catalog.has_schema_privilege(n.oid, 'USAGE')
    AND pg_catalog.has_function_privilege(p.oid, 'EXECUTE')
    AND p.prosecdef
    AND o.rolname = 'pgdoctor_statistics'
    AND NOT o.rolcanlogin
    AND NOT pg_catalog.pg_has_role(p.proowner, 'MEMBER');
