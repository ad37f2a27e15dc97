-- One row for each asked value whose frequency our role may read: the share of the rows that have it, by the most common
-- values of its column. The value is compared with their output, never cast: no function of users runs, and nothing can
-- be raised that quotes it. So the column is of one of the server's own types or an enum, and equal texts are equal bytes.
-- A value that is none of the most common ones has an equal part of the rest. Tables by name, as in statistics.sql.
SELECT
    v.place,
    coalesce(
        listed.share,
        greatest(1 - s.null_frac - common.share, 0) / greatest(
            CASE WHEN s.n_distinct < 0 THEN -s.n_distinct * c.reltuples ELSE s.n_distinct END - common.number, 1
        )
    )::pg_catalog.float8 AS share
FROM
    ROWS FROM (
        pg_catalog.unnest(%(relations)s::pg_catalog.oid[]),
        pg_catalog.unnest(%(columns)s::pg_catalog.text[]),
        pg_catalog.unnest(%(literals)s::pg_catalog.bytea[])
    ) WITH ORDINALITY AS v (relation_oid, column_name, literal, place)
JOIN pg_catalog.pg_class AS c ON c.oid = v.relation_oid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attname = v.column_name::pg_catalog.name
JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid
LEFT JOIN pg_catalog.pg_collation AS co ON co.oid = a.attcollation
JOIN pg_catalog.pg_stats AS s
    ON s.schemaname = n.nspname AND s.tablename = c.relname AND s.attname = a.attname
    AND s.inherited = (c.relkind = 'p')
CROSS JOIN LATERAL (
    -- bool, int8, int2, int4, text, bpchar, varchar by OID: a user may have created a type of that name.
    SELECT
        a.atttypid = ANY ('{16,20,21,23,25,1042,1043}'::pg_catalog.oid[]) OR t.typtype = 'e' AS is_comparable,
        a.atttypid = 1042 AS is_padded
) AS kind
CROSS JOIN LATERAL (
    SELECT
        coalesce(pg_catalog.sum(f.share), 0)::pg_catalog.float8 AS share,
        pg_catalog.count(*) AS number
    FROM pg_catalog.unnest(s.most_common_freqs) AS f (share)
) AS common
LEFT JOIN LATERAL (
    SELECT m.share
    FROM
        ROWS FROM (
            pg_catalog.unnest(
                CASE WHEN kind.is_comparable THEN s.most_common_vals::pg_catalog.text::pg_catalog.text[] END
            ),
            pg_catalog.unnest(s.most_common_freqs)
        ) AS m (item, share)
    WHERE
        pg_catalog.textsend(CASE WHEN kind.is_padded THEN pg_catalog.rtrim(m.item) ELSE m.item END) = v.literal
    LIMIT 1
) AS listed ON true
WHERE
    s.tablename = ANY (%(tables)s::pg_catalog.name[])
    AND s.schemaname = ANY (%(schemas)s::pg_catalog.name[])
    AND kind.is_comparable
    AND coalesce(co.collisdeterministic, true);
