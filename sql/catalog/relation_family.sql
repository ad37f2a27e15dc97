-- One row for each relation that belongs to the asked one, itself first: its partitions or children at any depth, the
-- indexes of all of them, and their toast tables. Raw catalog columns only, which wait behind no lock on a table.
WITH RECURSIVE below (oid) AS (
    SELECT %(oid)s::pg_catalog.oid
    UNION
    SELECT i.inhrelid
    FROM below AS b
    JOIN pg_catalog.pg_inherits AS i ON i.inhparent = b.oid
),

member AS MATERIALIZED (
    SELECT b.oid FROM below AS b
    UNION
    SELECT c.reltoastrelid
    FROM below AS b
    JOIN pg_catalog.pg_class AS c ON c.oid = b.oid
    WHERE c.reltoastrelid <> 0
)

SELECT
    c.oid,
    c.relkind::pg_catalog.text AS kind,
    pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname) AS name
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE
    c.oid IN (SELECT m.oid FROM member AS m)
    OR c.oid IN (
        SELECT i.indexrelid FROM pg_catalog.pg_index AS i WHERE i.indrelid IN (SELECT m.oid FROM member AS m)
    )
ORDER BY c.oid = %(oid)s::pg_catalog.oid DESC, c.relkind IN ('r', 'p') DESC, name
LIMIT %(most)s;
