-- One row for each column of the asked tables. `is_not_null`: also for SET NOT NULL: a valid CHECK says so.
SELECT
    a.attrelid AS table_oid,
    a.attname::pg_catalog.text AS name,
    a.attnum::pg_catalog.int4 AS number,
    t.typname::pg_catalog.text AS type,
    a.atttypmod AS modifier,
    a.attnotnull AS is_not_null,
    a.attidentity OPERATOR(pg_catalog.<>) '' AS is_identity,
    EXISTS (
        SELECT FROM pg_catalog.pg_constraint AS k
        WHERE
            k.conrelid OPERATOR(pg_catalog.=) a.attrelid
            AND k.contype OPERATOR(pg_catalog.=) 'c'
            AND k.convalidated
            AND k.conkey OPERATOR(pg_catalog.=) ARRAY[a.attnum]
            -- IS NOT NULL of one column, as the server stores it: its text form would wait for a lock on the table.
            AND pg_catalog.starts_with(k.conbin::pg_catalog.text, '{NULLTEST :arg {VAR ')
            AND pg_catalog.strpos(k.conbin::pg_catalog.text, ':nulltesttype 1 ') OPERATOR(pg_catalog.>) 0
    ) AS has_not_null_check,
    ARRAY(
        SELECT i.indexrelid FROM pg_catalog.pg_index AS i
        WHERE
            i.indrelid OPERATOR(pg_catalog.=) a.attrelid
            AND (
                a.attnum OPERATOR(pg_catalog.=) ANY (i.indkey)
                OR EXISTS (
                    SELECT FROM pg_catalog.pg_depend AS d
                    WHERE
                        d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass
                        AND d.objid OPERATOR(pg_catalog.=) i.indexrelid
                        AND d.refobjid OPERATOR(pg_catalog.=) a.attrelid
                        AND d.refobjsubid OPERATOR(pg_catalog.=) a.attnum
                )
            )
    ) AS indexes,
    ARRAY(
        SELECT f.confrelid FROM pg_catalog.pg_constraint AS f
        WHERE
            f.contype OPERATOR(pg_catalog.=) 'f'
            AND f.conrelid OPERATOR(pg_catalog.=) a.attrelid
            AND a.attnum OPERATOR(pg_catalog.=) ANY (f.conkey)
    ) AS referenced,
    ARRAY(
        SELECT f.conrelid FROM pg_catalog.pg_constraint AS f
        WHERE
            f.contype OPERATOR(pg_catalog.=) 'f'
            AND f.confrelid OPERATOR(pg_catalog.=) a.attrelid
            AND a.attnum OPERATOR(pg_catalog.=) ANY (f.confkey)
    ) AS referencing,
    ARRAY(
        SELECT d.objid FROM pg_catalog.pg_depend AS d
        JOIN pg_catalog.pg_class AS s ON s.oid OPERATOR(pg_catalog.=) d.objid
        WHERE
            d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass
            AND d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass
            AND d.refobjid OPERATOR(pg_catalog.=) a.attrelid
            AND d.refobjsubid OPERATOR(pg_catalog.=) a.attnum
            AND s.relkind OPERATOR(pg_catalog.=) 'S'
    ) AS sequences,
    ARRAY(
        SELECT DISTINCT r.ev_class FROM pg_catalog.pg_depend AS d
        JOIN pg_catalog.pg_rewrite AS r ON r.oid OPERATOR(pg_catalog.=) d.objid
        WHERE
            d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_rewrite'::pg_catalog.regclass
            AND d.refobjid OPERATOR(pg_catalog.=) a.attrelid
            AND d.refobjsubid OPERATOR(pg_catalog.=) a.attnum
            AND r.ev_class OPERATOR(pg_catalog.<>) a.attrelid
    ) AS views
FROM pg_catalog.pg_attribute AS a
JOIN pg_catalog.pg_type AS t ON t.oid OPERATOR(pg_catalog.=) a.atttypid
WHERE
    a.attrelid OPERATOR(pg_catalog.=) ANY (%(oids)s::pg_catalog.oid[])
    AND a.attnum OPERATOR(pg_catalog.>) 0
    AND NOT a.attisdropped
LIMIT %(most)s;
