-- One row for each asked process: whether its transaction has changed the definition of an asked relation that it has
-- locked. LOCK TABLE leaves the locks of DDL, but no trace in the catalogs. DDL that is not committed yet does: the row
-- that it replaces or deletes is still there for others, and its xmax is the transaction, or a later one below it
-- (measured for 45 statements, 14 and 18). An added definition shows nowhere: a rule, a policy or a trigger besides
-- others of its kind, a partition, an index besides others. Where it may be that, the answer is NULL.
-- CLUSTER rewrites the table and its indexes, and replaces no row of a column. One of the indexes is the clustered one
-- by then, or becomes it, which replaces its row. An ALTER TABLE that rewrites a table does not touch that row.
WITH held AS MATERIALIZED (
    SELECT DISTINCT l.pid, l.relation, l.mode, s.backend_xid
    FROM pg_catalog.pg_lock_status() AS l
    JOIN pg_catalog.pg_stat_get_activity(NULL) AS s ON s.pid = l.pid
    WHERE
        l.pid = ANY (%(pids)s::pg_catalog.int4[])
        AND l.locktype = 'relation'
        AND l.granted
        AND l.database = %(database_oid)s
        AND l.mode IN ('ShareUpdateExclusiveLock', 'ShareLock', 'ShareRowExclusiveLock', 'AccessExclusiveLock')
        AND s.backend_xid IS NOT NULL
),

-- Relations that are not committed yet: an index that is being built, a table or temporary table that is new.
creating AS MATERIALIZED (
    SELECT DISTINCT h.pid
    FROM held AS h
    LEFT JOIN pg_catalog.pg_class AS c ON c.oid = h.relation
    WHERE c.oid IS NULL
),

-- The xmax of each row that defines a relation, as an age: of two transactions the younger one is the later one.
replaced AS (
    SELECT
        h.pid,
        least(
            pg_catalog.age(c.xmax),
            (SELECT pg_catalog.min(pg_catalog.age(a.xmax)) FROM pg_catalog.pg_attribute AS a WHERE a.attrelid = c.oid),
            (
                SELECT pg_catalog.min(least(pg_catalog.age(i.xmax), pg_catalog.age(d.xmax)))
                FROM pg_catalog.pg_index AS i
                JOIN pg_catalog.pg_class AS d ON d.oid = i.indexrelid
                WHERE i.indrelid = c.oid
            ),
            (SELECT pg_catalog.min(pg_catalog.age(k.xmax)) FROM pg_catalog.pg_constraint AS k WHERE k.conrelid = c.oid),
            (SELECT pg_catalog.min(pg_catalog.age(t.xmax)) FROM pg_catalog.pg_trigger AS t WHERE t.tgrelid = c.oid),
            (SELECT pg_catalog.min(pg_catalog.age(r.xmax)) FROM pg_catalog.pg_rewrite AS r WHERE r.ev_class = c.oid),
            (SELECT pg_catalog.min(pg_catalog.age(p.xmax)) FROM pg_catalog.pg_policy AS p WHERE p.polrelid = c.oid)
        ) <= pg_catalog.age(h.backend_xid) AS has_changed,
        CASE
            WHEN h.mode = 'AccessExclusiveLock'
                THEN
                    c.relhasrules OR c.relrowsecurity OR c.relispartition OR c.relkind = 'p'
                    OR h.pid IN (SELECT n.pid FROM creating AS n)
            WHEN h.mode = 'ShareRowExclusiveLock' THEN c.relhastriggers
            ELSE h.pid IN (SELECT n.pid FROM creating AS n)
        END AS may_hide,
        h.mode = 'AccessExclusiveLock'
        AND h.pid IN (SELECT n.pid FROM creating AS n)
        AND pg_catalog.age(c.xmax) <= pg_catalog.age(h.backend_xid)
        AND NOT EXISTS (
            SELECT
            FROM pg_catalog.pg_attribute AS a
            WHERE a.attrelid = c.oid AND pg_catalog.age(a.xmax) <= pg_catalog.age(h.backend_xid)
        )
        AND EXISTS (
            SELECT
            FROM pg_catalog.pg_index AS i
            JOIN pg_catalog.pg_class AS d ON d.oid = i.indexrelid
            WHERE
                i.indrelid = c.oid
                AND pg_catalog.age(d.xmax) <= pg_catalog.age(h.backend_xid)
                AND (i.indisclustered OR pg_catalog.age(i.xmax) <= pg_catalog.age(h.backend_xid))
        ) AS is_clustered
    FROM held AS h
    JOIN pg_catalog.pg_class AS c ON c.oid = h.relation
    WHERE h.relation = ANY (%(relations)s::pg_catalog.oid[])
)

SELECT
    r.pid,
    CASE WHEN pg_catalog.bool_or(r.has_changed) THEN true WHEN NOT pg_catalog.bool_or(r.may_hide) THEN false END
        AS has_changed,
    pg_catalog.bool_or(r.is_clustered) AS is_clustered
FROM replaced AS r
GROUP BY r.pid;
