-- One row for each relation that has one of the asked names, with or without its schema: what is to be known of it before
-- DDL runs. `place`: of the asked name. Raw catalog columns only, which wait behind no lock on a table.
SELECT
    w.place::pg_catalog.int4 AS place,
    c.oid,
    n.nspname::pg_catalog.text AS schema
FROM ROWS FROM (
    pg_catalog.unnest(%(schemas)s::pg_catalog.text[]), pg_catalog.unnest(%(names)s::pg_catalog.text[])
) WITH ORDINALITY AS w (schema, name, place)
JOIN pg_catalog.pg_class AS c ON c.relname OPERATOR(pg_catalog.=) w.name::pg_catalog.name
JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
WHERE
    (w.schema OPERATOR(pg_catalog.=) '' OR n.nspname OPERATOR(pg_catalog.=) w.schema::pg_catalog.name)
    AND n.nspname OPERATOR(pg_catalog.<>) 'pg_toast'
    AND c.relpersistence OPERATOR(pg_catalog.<>) 't'
ORDER BY w.place, c.oid
LIMIT %(most)s;
