-- One row for each asked value whose frequency the functions of `pgdoctor setup --stats` tell: as value_frequencies.sql.
SELECT
    v.place,
    f.share
FROM
    ROWS FROM (
        pg_catalog.unnest(%(relations)s::pg_catalog.oid[]),
        pg_catalog.unnest(%(columns)s::pg_catalog.text[]),
        pg_catalog.unnest(%(literals)s::pg_catalog.bytea[])
    ) WITH ORDINALITY AS v (relation_oid, column_name, literal, place)
JOIN pg_catalog.pg_class AS c ON c.oid = v.relation_oid
JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attname = v.column_name::pg_catalog.name
CROSS JOIN LATERAL pgdoctor.value_share(a.attrelid, a.attnum, c.relkind = 'p', v.literal) AS f (share)
WHERE f.share IS NOT NULL;
