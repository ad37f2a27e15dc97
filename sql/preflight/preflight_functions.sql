-- One row for each function name of those asked that is there: whether one of that name may change data or differ from
-- call to call, and whether all of that name are the server's own.
SELECT
    p.proname::pg_catalog.text AS name,
    pg_catalog.bool_or(p.provolatile OPERATOR(pg_catalog.=) 'v') AS is_volatile,
    pg_catalog.bool_and(n.nspname OPERATOR(pg_catalog.=) 'pg_catalog') AS is_builtin
FROM pg_catalog.pg_proc AS p
JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) p.pronamespace
WHERE p.proname OPERATOR(pg_catalog.=) ANY (%(names)s::pg_catalog.name[])
GROUP BY p.proname;
