-- One row for each column of the asked tables: its name (also as it must be written), type, whether texts in it are
-- ordered byte by byte, whether the table is partitioned by it, whether pg_stats shows its statistics to our role. Raw catalog columns only (see relations.sql for why).
SELECT
    a.attrelid AS table_oid,
    a.attname::pg_catalog.text AS name,
    pg_catalog.quote_ident(a.attname) AS quoted,
    -- A domain is what it is made of; of a domain over a domain only the first is seen.
    coalesce(base.typname, t.typname)::pg_catalog.text AS type,
    coalesce(
        CASE co.collprovider
            WHEN 'd' THEN db.is_bytewise
            WHEN 'b' THEN true
            ELSE co.collprovider = 'c' AND co.collcollate IN ('C', 'POSIX')
        END,
        false
    ) AS is_bytewise,
    coalesce(a.attnum = ANY (p.partattrs::pg_catalog.int2[]), false) AS is_partition_key,
    coalesce(
        pg_catalog.has_column_privilege(a.attrelid, a.attnum, 'SELECT')
        AND NOT (c.relrowsecurity AND pg_catalog.row_security_active(c.oid)),
        false
    ) AS is_readable
FROM pg_catalog.pg_attribute AS a
JOIN pg_catalog.pg_class AS c ON c.oid = a.attrelid
JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid
LEFT JOIN pg_catalog.pg_type AS base ON base.oid = t.typbasetype AND t.typtype = 'd'
LEFT JOIN pg_catalog.pg_collation AS co ON co.oid = a.attcollation
LEFT JOIN pg_catalog.pg_partitioned_table AS p ON p.partrelid = a.attrelid
CROSS JOIN (
    SELECT
        CASE coalesce(pg_catalog.to_jsonb(d) ->> 'datlocprovider', 'c')
            WHEN 'c' THEN d.datcollate IN ('C', 'POSIX')
            ELSE pg_catalog.to_jsonb(d) ->> 'datlocprovider' = 'b'
        END AS is_bytewise
    FROM pg_catalog.pg_database AS d
    WHERE d.datname = pg_catalog.current_database()
) AS db
WHERE a.attrelid = ANY (%(oids)s::pg_catalog.oid[]) AND a.attnum > 0 AND NOT a.attisdropped;
