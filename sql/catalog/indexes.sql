-- One row for each index of the asked tables, from raw catalog columns (see relations.sql for why).
-- keys, in order, as the fields of `UniqueKey`: the column (NULL where the key is an expression), whether it is ordered as
-- `<` orders it, whether the beginning of a text can be searched in it, whether its collation is the column's.
-- The columns of an expression or a predicate are the column numbers of its node tree.
SELECT
    i.indrelid AS table_oid,
    am.amname AS method,
    i.indisvalid AND i.indisready AND i.indislive AS is_usable,
    (
        SELECT
            pg_catalog.json_agg(
                pg_catalog.json_build_array(
                    a.attname,
                    coalesce(oc.opcname NOT LIKE '%%pattern_ops', true),
                    -- An operator class that is not the type's own is not for us to judge.
                    coalesce(oc.opcname LIKE '%%pattern_ops' OR NOT oc.opcdefault OR (
                        CASE co.collprovider
                            WHEN 'd' THEN db.is_bytewise
                            WHEN 'b' THEN true
                            ELSE co.collprovider = 'c' AND co.collcollate IN ('C', 'POSIX')
                        END
                    ), false),
                    coalesce(k.collation_oid = a.attcollation, true)
                )
                ORDER BY k.position
            )
        FROM
            ROWS FROM (
                pg_catalog.unnest(i.indkey::pg_catalog.int2[]),
                pg_catalog.unnest(i.indclass::pg_catalog.oid[]),
                pg_catalog.unnest(i.indcollation::pg_catalog.oid[])
            ) WITH ORDINALITY AS k (attnum, opclass_oid, collation_oid, position)
        LEFT JOIN pg_catalog.pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.attnum AND k.attnum > 0
        LEFT JOIN pg_catalog.pg_opclass AS oc ON oc.oid = k.opclass_oid
        LEFT JOIN pg_catalog.pg_collation AS co ON co.oid = k.collation_oid
        WHERE k.position <= i.indnkeyatts
    )::pg_catalog.text AS keys,
    ARRAY(
        SELECT DISTINCT coalesce(a.attname, '*')::pg_catalog.text
        FROM pg_catalog.regexp_matches(i.indexprs::pg_catalog.text, ':varattno (-?[0-9]+)', 'g') AS v (numbers)
        LEFT JOIN pg_catalog.pg_attribute AS a
            ON a.attrelid = i.indrelid AND a.attnum = v.numbers[1]::pg_catalog.int2 AND a.attnum > 0
    ) AS expression_columns,
    CASE WHEN i.indpred IS NOT NULL THEN ARRAY(
        SELECT DISTINCT coalesce(a.attname, '*')::pg_catalog.text
        FROM pg_catalog.regexp_matches(i.indpred::pg_catalog.text, ':varattno (-?[0-9]+)', 'g') AS v (numbers)
        LEFT JOIN pg_catalog.pg_attribute AS a
            ON a.attrelid = i.indrelid AND a.attnum = v.numbers[1]::pg_catalog.int2 AND a.attnum > 0
    ) END AS predicate_columns,
    -- The predicate is one `column IS NOT NULL` and nothing else.
    coalesce(
        i.indpred::pg_catalog.text ~ '^\{NULLTEST :arg \{VAR [^{}]*\} :nulltesttype 1 [^{}]*\}$', false
    ) AS is_not_null,
    -- Its first key is a function's result. Not of type bool: such a condition is searched by itself.
    coalesce(
        i.indkey[0] = 0 AND i.indexprs::pg_catalog.text ~ '^\(\{FUNCEXPR :funcid [0-9]+ :funcresulttype (?!16 )', false
    ) AS begins_with_function
FROM pg_catalog.pg_index AS i
JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid
JOIN pg_catalog.pg_am AS am ON am.oid = c.relam
CROSS JOIN (
    SELECT
        CASE coalesce(pg_catalog.to_jsonb(d) ->> 'datlocprovider', 'c')
            WHEN 'c' THEN d.datcollate IN ('C', 'POSIX')
            ELSE pg_catalog.to_jsonb(d) ->> 'datlocprovider' = 'b'
        END AS is_bytewise
    FROM pg_catalog.pg_database AS d
    WHERE d.datname = pg_catalog.current_database()
) AS db
WHERE i.indrelid = ANY (%(oids)s::pg_catalog.oid[]);
