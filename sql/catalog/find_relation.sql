-- One row for each relation of the connected database that may be meant by a name as people type it: with its schema or
-- without, quoted or not, with the database in front. Not to_regclass(), which knows the search path alone.
-- Refused with invalid_parameter_value where it is no name.
SELECT
    c.oid,
    pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname) AS name,
    c.relpersistence <> 't' AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast') AS is_own
FROM (SELECT pg_catalog.parse_ident(%(typed)s::pg_catalog.text) AS parts) AS ident
CROSS JOIN LATERAL (SELECT pg_catalog.cardinality(ident.parts) AS length) AS p
JOIN pg_catalog.pg_class AS c ON c.relname = ident.parts[p.length]
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE
    p.length = 1
    OR (p.length = 2 AND n.nspname = ident.parts[1])
    OR (p.length = 3 AND n.nspname = ident.parts[2] AND pg_catalog.current_database() = ident.parts[1])
ORDER BY is_own DESC, name
LIMIT 20;
