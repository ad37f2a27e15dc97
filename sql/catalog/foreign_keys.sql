-- One row for each foreign key that references one of the asked tables, from raw catalog columns.
-- What the server keeps for the partitions of a referencing table is left out: they are searched through the table.
SELECT
    f.conname::pg_catalog.text AS name,
    f.confrelid AS referenced_oid,
    f.conrelid AS table_oid,
    f.confdeltype::pg_catalog.text AS on_delete,
    f.confupdtype::pg_catalog.text AS on_update,
    ARRAY(
        SELECT a.attname::pg_catalog.text
        FROM pg_catalog.unnest(f.conkey) WITH ORDINALITY AS k (attnum, position)
        JOIN pg_catalog.pg_attribute AS a ON a.attrelid = f.conrelid AND a.attnum = k.attnum
        ORDER BY k.position
    ) AS columns,
    ARRAY(
        SELECT a.attname::pg_catalog.text
        FROM pg_catalog.unnest(f.confkey) WITH ORDINALITY AS k (attnum, position)
        JOIN pg_catalog.pg_attribute AS a ON a.attrelid = f.confrelid AND a.attnum = k.attnum
        ORDER BY k.position
    ) AS referenced_columns
FROM pg_catalog.pg_constraint AS f
LEFT JOIN pg_catalog.pg_constraint AS whole ON whole.oid = f.conparentid
WHERE
    f.contype = 'f'
    AND f.confrelid = ANY (%(oids)s::pg_catalog.oid[])
    AND (whole.oid IS NULL OR whole.conrelid = f.conrelid)
ORDER BY f.oid
LIMIT 500;
