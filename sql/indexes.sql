-- One row for each index of the asked tables, from raw catalog columns (see relations.sql for why).
-- key_columns are the names of the key columns in order, NULL where the key is an expression.
SELECT
    i.indrelid AS table_oid,
    i.indexrelid AS oid,
    am.amname AS method,
    i.indisvalid AND i.indisready AND i.indislive AS is_usable,
    i.indpred IS NOT NULL AS is_partial,
    ARRAY(
        SELECT a.attname::pg_catalog.text
        FROM pg_catalog.unnest(i.indkey::pg_catalog.int2[]) WITH ORDINALITY AS k (attnum, position)
        LEFT JOIN pg_catalog.pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.attnum AND k.attnum > 0
        WHERE k.position <= i.indnkeyatts
        ORDER BY k.position
    ) AS key_columns
FROM pg_catalog.pg_index AS i
JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid
JOIN pg_catalog.pg_am AS am ON am.oid = c.relam
WHERE i.indrelid = ANY (%(oids)s::pg_catalog.oid[]);
