-- One row for each tie between one of the asked relations and another relation, from raw catalog columns. `source` and
-- `target`: child: parent and child; index: table and index; toast: table and its toast table; foreign_key: referencing
-- and referenced table; view: what is read, and the view that reads it; sequence: table and the sequence it owns;
-- statistics: nothing but the table.
WITH asked AS MATERIALIZED (
    SELECT DISTINCT u.oid FROM pg_catalog.unnest(%(oids)s::pg_catalog.oid[]) AS u (oid)
)

SELECT
    'child' AS kind,
    i.inhparent AS source,
    i.inhrelid AS target,
    coalesce(p.partdefid OPERATOR(pg_catalog.=) i.inhrelid, false) AS is_default,
    c.relispartition AS is_partition,
    '' AS name,
    '' AS on_delete
FROM pg_catalog.pg_inherits AS i
JOIN pg_catalog.pg_class AS c ON c.oid OPERATOR(pg_catalog.=) i.inhrelid
LEFT JOIN pg_catalog.pg_partitioned_table AS p ON p.partrelid OPERATOR(pg_catalog.=) i.inhparent
WHERE i.inhparent IN (SELECT a.oid FROM asked AS a) OR i.inhrelid IN (SELECT a.oid FROM asked AS a)
UNION ALL
SELECT 'index', i.indrelid, i.indexrelid, false, false, '', ''
FROM pg_catalog.pg_index AS i
WHERE i.indrelid IN (SELECT a.oid FROM asked AS a) OR i.indexrelid IN (SELECT a.oid FROM asked AS a)
UNION ALL
SELECT 'toast', c.oid, c.reltoastrelid, false, false, '', ''
FROM pg_catalog.pg_class AS c
WHERE c.oid IN (SELECT a.oid FROM asked AS a) AND c.reltoastrelid OPERATOR(pg_catalog.<>) 0
UNION ALL
SELECT 'foreign_key', f.conrelid, f.confrelid, false, false, f.conname::pg_catalog.text, f.confdeltype::pg_catalog.text
FROM pg_catalog.pg_constraint AS f
WHERE
    f.contype OPERATOR(pg_catalog.=) 'f'
    AND (f.conrelid IN (SELECT a.oid FROM asked AS a) OR f.confrelid IN (SELECT a.oid FROM asked AS a))
UNION ALL
SELECT DISTINCT 'view', d.refobjid, r.ev_class, false, false, '', ''
FROM pg_catalog.pg_depend AS d
JOIN pg_catalog.pg_rewrite AS r ON r.oid OPERATOR(pg_catalog.=) d.objid
WHERE
    d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_rewrite'::pg_catalog.regclass
    AND d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass
    AND d.refobjid OPERATOR(pg_catalog.<>) r.ev_class
    AND r.rulename OPERATOR(pg_catalog.=) '_RETURN'
    AND (d.refobjid IN (SELECT a.oid FROM asked AS a) OR r.ev_class IN (SELECT a.oid FROM asked AS a))
UNION ALL
SELECT 'sequence', d.refobjid, d.objid, false, false, '', ''
FROM pg_catalog.pg_depend AS d
JOIN pg_catalog.pg_class AS c ON c.oid OPERATOR(pg_catalog.=) d.objid
WHERE
    d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass
    AND d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass
    AND d.deptype IN ('a', 'i')
    AND c.relkind OPERATOR(pg_catalog.=) 'S'
    AND (d.refobjid IN (SELECT a.oid FROM asked AS a) OR d.objid IN (SELECT a.oid FROM asked AS a))
UNION ALL
SELECT 'statistics', s.stxrelid, s.stxrelid, false, false, s.stxname::pg_catalog.text, ''
FROM pg_catalog.pg_statistic_ext AS s
WHERE s.stxrelid IN (SELECT a.oid FROM asked AS a)
LIMIT %(most)s;
