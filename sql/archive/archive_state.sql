-- One row: what the archive's schema says of itself, null: there is none; and whether its content can be trusted.
-- Triggers, rules and views of another role would run as us: `is_ours` is for who writes, `is_plain` for who reads.
-- Planning evaluates functions of constants, in the predicates of indexes and in the keys of partitions; a type of a
-- user may have a cast of his. So no table, wherever its partitions are, uses an object that is not the server's own.
-- Those have OIDs from 16384 on (FirstNormalObjectId).
-- Its tables can be named only where they exist, so the catalog is asked.
WITH RECURSIVE part AS (
    SELECT c.oid
    FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
    WHERE n.nspname OPERATOR(pg_catalog.=) 'pgdoctor_archive'
    UNION
    SELECT h.inhrelid
    FROM pg_catalog.pg_inherits AS h
    JOIN part ON part.oid OPERATOR(pg_catalog.=) h.inhparent
),

object AS (
    SELECT 'pg_catalog.pg_class'::pg_catalog.regclass AS catalog, part.oid
    FROM part
    UNION ALL
    SELECT 'pg_catalog.pg_class'::pg_catalog.regclass, i.indexrelid
    FROM pg_catalog.pg_index AS i
    JOIN part ON part.oid OPERATOR(pg_catalog.=) i.indrelid
    UNION ALL
    SELECT 'pg_catalog.pg_constraint'::pg_catalog.regclass, k.oid
    FROM pg_catalog.pg_constraint AS k
    JOIN part ON part.oid OPERATOR(pg_catalog.=) k.conrelid
    UNION ALL
    SELECT 'pg_catalog.pg_attrdef'::pg_catalog.regclass, a.oid
    FROM pg_catalog.pg_attrdef AS a
    JOIN part ON part.oid OPERATOR(pg_catalog.=) a.adrelid
    UNION ALL
    SELECT 'pg_catalog.pg_statistic_ext'::pg_catalog.regclass, e.oid
    FROM pg_catalog.pg_statistic_ext AS e
    JOIN part ON part.oid OPERATOR(pg_catalog.=) e.stxrelid
)

SELECT
    pg_catalog.obj_description(n.oid, 'pg_namespace') AS description,
    pg_catalog.getdatabaseencoding() AS encoding,
    pg_catalog.pg_is_in_recovery() AS in_recovery,
    u.oid OPERATOR(pg_catalog.=) n.nspowner
    AND NOT EXISTS (
        SELECT FROM pg_catalog.pg_class AS c
        WHERE c.relnamespace OPERATOR(pg_catalog.=) n.oid AND c.relowner OPERATOR(pg_catalog.<>) u.oid
    )
    AND NOT EXISTS (
        SELECT FROM pg_catalog.pg_proc AS p
        WHERE p.pronamespace OPERATOR(pg_catalog.=) n.oid AND p.proowner OPERATOR(pg_catalog.<>) u.oid
    )
    -- With GRANT ALL ON TABLES, as usual default privileges have it, another role may make a trigger on our table, or
    -- a foreign key to it: what cascades from it to the table of that role fires deferred triggers there as us.
    AND NOT EXISTS (
        SELECT FROM pg_catalog.pg_trigger AS t
        JOIN part ON part.oid OPERATOR(pg_catalog.=) t.tgrelid
        JOIN pg_catalog.pg_proc AS p ON p.oid OPERATOR(pg_catalog.=) t.tgfoid
        WHERE
            p.proowner OPERATOR(pg_catalog.<>) u.oid
            OR (t.tgisinternal AND t.tgparentid OPERATOR(pg_catalog.=) '0'::pg_catalog.oid)
    ) AS is_ours,
    NOT EXISTS (
        SELECT FROM pg_catalog.pg_class AS c
        JOIN part ON part.oid OPERATOR(pg_catalog.=) c.oid
        WHERE c.relkind OPERATOR(pg_catalog.<>) ALL ('{r,p,i,I}'::pg_catalog."char"[])
    )
    AND NOT EXISTS (
        SELECT FROM pg_catalog.pg_depend AS d
        JOIN object AS o ON o.catalog OPERATOR(pg_catalog.=) d.classid AND o.oid OPERATOR(pg_catalog.=) d.objid
        WHERE
            d.refobjid OPERATOR(pg_catalog.>=) '16384'::pg_catalog.oid
            AND d.refclassid OPERATOR(pg_catalog.=) ANY (
                '{pg_catalog.pg_proc, pg_catalog.pg_operator, pg_catalog.pg_type}'::pg_catalog.regclass[]
            )
    ) AS is_plain
FROM pg_catalog.pg_roles AS u
LEFT JOIN pg_catalog.pg_namespace AS n ON n.nspname OPERATOR(pg_catalog.=) 'pgdoctor_archive'
WHERE u.rolname OPERATOR(pg_catalog.=) current_user;
