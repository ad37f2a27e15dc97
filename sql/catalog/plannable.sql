-- One row: whether planning a search of a table runs no code but the server's own. Planning evaluates functions of
-- constants wherever it meets them: in the expressions and predicates of indexes, of partition keys, of extended
-- statistics. A foreign table would be asked elsewhere, a view be taken apart.
-- Asked with the table locked, so that its name, partitions and columns stay what they are. Objects from OID 16384 on
-- are not the server's own (FirstNormalObjectId).
WITH RECURSIVE part AS (
    SELECT %(oid)s::pg_catalog.oid AS oid
    UNION
    SELECT h.inhrelid
    FROM pg_catalog.pg_inherits AS h
    JOIN part ON part.oid = h.inhparent
),

-- What is planned with, by catalog.
object AS (
    SELECT 'pg_catalog.pg_class'::pg_catalog.regclass AS catalog, part.oid, true AS is_table
    FROM part
    UNION ALL
    SELECT 'pg_catalog.pg_class'::pg_catalog.regclass, i.indexrelid, false
    FROM pg_catalog.pg_index AS i
    JOIN part ON part.oid = i.indrelid
    UNION ALL
    SELECT 'pg_catalog.pg_statistic_ext'::pg_catalog.regclass, e.oid, false
    FROM pg_catalog.pg_statistic_ext AS e
    JOIN part ON part.oid = e.stxrelid
)

SELECT
    coalesce(pg_catalog.to_regclass(%(table_name)s) = %(oid)s::pg_catalog.oid, false)
    AND NOT EXISTS (
        SELECT
        FROM pg_catalog.pg_class AS c
        JOIN part ON part.oid = c.oid
        WHERE c.relkind NOT IN ('r', 'p')
    )
    AND NOT EXISTS (
        SELECT
        FROM pg_catalog.pg_attribute AS a
        JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid
        WHERE
            a.attrelid = %(oid)s::pg_catalog.oid
            AND a.attname = ANY (%(columns)s::pg_catalog.name[])
            AND (t.oid >= 16384 OR t.typtype <> 'b')
    )
    AND NOT EXISTS (
        SELECT
        FROM pg_catalog.pg_depend AS d
        JOIN object AS o ON o.catalog = d.classid AND o.oid = d.objid
        WHERE
            d.refobjid >= 16384
            AND (
                d.refclassid IN ('pg_catalog.pg_proc'::pg_catalog.regclass, 'pg_catalog.pg_operator'::pg_catalog.regclass)
                -- Columns of any type may stand beside those that are searched.
                OR (d.refclassid = 'pg_catalog.pg_type'::pg_catalog.regclass AND NOT o.is_table)
            )
    ) AS is_safe;
