-- One row for each of the asked views that is nothing but columns of one table: the table, the view's columns with those
-- of the table that they are, and the columns of the table that the view restricts its rows by.
-- From the node tree of its rule, for pg_get_viewdef() would wait for locks on what the view reads. A name with other
-- characters than letters, digits and underscores is left out.
SELECT
    r.ev_class AS view_oid,
    found.table_oid,
    found.names,
    ARRAY(
        SELECT a.attname::pg_catalog.text
        FROM pg_catalog.unnest(found.numbers) WITH ORDINALITY AS n (number, position)
        JOIN pg_catalog.pg_attribute AS a ON a.attrelid = found.table_oid AND a.attnum = n.number
        ORDER BY n.position
    ) AS columns,
    ARRAY(
        SELECT DISTINCT coalesce(a.attname, '*')::pg_catalog.text
        FROM pg_catalog.regexp_matches(
            -- What stands between the FROM list and the columns.
            pg_catalog.split_part(pg_catalog.split_part(rule.body, ':jointree ', 2), ':targetList ', 1),
            ':varattno (-?[0-9]+)', 'g'
        ) AS v (numbers)
        LEFT JOIN pg_catalog.pg_attribute AS a
            ON a.attrelid = found.table_oid AND a.attnum = v.numbers[1]::pg_catalog.int2 AND a.attnum > 0
    ) AS restricted_by
FROM pg_catalog.pg_rewrite AS r
JOIN pg_catalog.pg_class AS c ON c.oid = r.ev_class
CROSS JOIN LATERAL (SELECT r.ev_action::pg_catalog.text AS body) AS rule
CROSS JOIN LATERAL (
    SELECT
        pg_catalog.max(v.parts[2]::pg_catalog.int8)::pg_catalog.oid AS table_oid,
        pg_catalog.array_agg(v.parts[1]) AS names,
        pg_catalog.array_agg(v.parts[3]::pg_catalog.int2) AS numbers
    FROM pg_catalog.regexp_matches(
        rule.body,
        ':resname ([A-Za-z0-9_]+) :ressortgroupref [0-9]+ :resorigtbl ([1-9][0-9]*) :resorigcol ([1-9][0-9]*)', 'g'
    ) AS v (parts)
) AS found
WHERE
    r.ev_class = ANY (%(oids)s::pg_catalog.oid[])
    AND r.rulename = '_RETURN'
    AND c.relkind = 'v'
    -- The conditions of a statement may not be pushed into it.
    AND NOT coalesce('security_barrier=true' = ANY (c.reloptions), false)
    AND found.table_oid IS NOT NULL
    -- One query of one table, without anything between its rows and those of the table.
    AND pg_catalog.length(rule.body) < 100000
    AND rule.body !~ '\{QUERY .*\{QUERY '
    AND rule.body ~ ':fromlist \(\{RANGETBLREF :rtindex [0-9]+\}\) :quals '
    AND rule.body ~ ':hasAggs false :hasWindowFuncs false :hasTargetSRFs false :hasSubLinks false '
    AND rule.body ~ ':groupClause <> '
    AND rule.body ~ ':distinctClause <> '
    AND rule.body ~ ':limitOffset <> :limitCount <> '
    AND rule.body ~ ':setOperations <> ';
