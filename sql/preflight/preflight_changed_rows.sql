-- One row for each of the asked objects whose row in its catalog an unfinished transaction may have changed: the
-- transaction's id. `xmax` also stays behind where a transaction was rolled back: the locks on ids tell which still run.
-- No lock on an object tells of these: CREATE OR REPLACE FUNCTION or GRANT holds none, and the next one waits.
WITH asked AS MATERIALIZED (
    SELECT DISTINCT u.classid, u.oid
    FROM ROWS FROM (
        pg_catalog.unnest(%(classids)s::pg_catalog.oid[]), pg_catalog.unnest(%(oids)s::pg_catalog.oid[])
    ) AS u (classid, oid)
)

SELECT
    a.classid,
    a.oid,
    x.xmax::pg_catalog.text::pg_catalog.int8 AS transaction
FROM asked AS a
CROSS JOIN LATERAL (
    SELECT c.xmax FROM pg_catalog.pg_class AS c
    WHERE
        a.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass
        AND c.oid OPERATOR(pg_catalog.=) a.oid
    UNION ALL
    SELECT c.xmax FROM pg_catalog.pg_type AS c
    WHERE
        a.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_type'::pg_catalog.regclass
        AND c.oid OPERATOR(pg_catalog.=) a.oid
    UNION ALL
    SELECT c.xmax FROM pg_catalog.pg_proc AS c
    WHERE
        a.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass
        AND c.oid OPERATOR(pg_catalog.=) a.oid
    UNION ALL
    SELECT c.xmax FROM pg_catalog.pg_namespace AS c
    WHERE
        a.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_namespace'::pg_catalog.regclass
        AND c.oid OPERATOR(pg_catalog.=) a.oid
    UNION ALL
    SELECT c.xmax FROM pg_catalog.pg_database AS c
    WHERE
        a.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_database'::pg_catalog.regclass
        AND c.oid OPERATOR(pg_catalog.=) a.oid
    UNION ALL
    SELECT c.xmax FROM pg_catalog.pg_db_role_setting AS c
    WHERE
        (a.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_authid'::pg_catalog.regclass
            AND c.setrole OPERATOR(pg_catalog.=) a.oid)
        OR (a.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_database'::pg_catalog.regclass
            AND c.setdatabase OPERATOR(pg_catalog.=) a.oid)
    UNION ALL
    SELECT c.xmax FROM pg_catalog.pg_extension AS c
    WHERE
        a.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_extension'::pg_catalog.regclass
        AND c.oid OPERATOR(pg_catalog.=) a.oid
    UNION ALL
    SELECT c.xmax FROM pg_catalog.pg_publication AS c
    WHERE
        a.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_publication'::pg_catalog.regclass
        AND c.oid OPERATOR(pg_catalog.=) a.oid
    UNION ALL
    SELECT c.xmax FROM pg_catalog.pg_statistic_ext AS c
    WHERE
        a.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_statistic_ext'::pg_catalog.regclass
        AND c.oid OPERATOR(pg_catalog.=) a.oid
) AS x
WHERE x.xmax OPERATOR(pg_catalog.<>) '0'::pg_catalog.xid
LIMIT %(most)s;
