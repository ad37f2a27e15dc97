-- One row for each asked process: whether its transaction has changed the definition of a relation that it has locked.
-- LOCK TABLE leaves the locks of DDL, but no trace in the catalogs. DDL that is not committed yet does: the row that it
-- replaces or deletes is still there for others, and its xmax is the transaction, or a later one below it (measured for
-- 45 statements, 14 and 18). What is only added shows nowhere: a rule, a policy or a trigger besides others of its kind;
-- and a relation that we cannot see may be an index of it or a temporary table. Then the answer is NULL.
WITH held AS MATERIALIZED (
    SELECT DISTINCT l.pid, l.relation, l.mode, s.backend_xid
    FROM pg_catalog.pg_lock_status() AS l
    JOIN pg_catalog.pg_stat_get_activity(NULL) AS s ON s.pid = l.pid
    WHERE
        l.pid = ANY (%(pids)s::pg_catalog.int4[])
        AND l.locktype = 'relation'
        AND l.granted
        AND l.database = %(database_oid)s
        AND l.mode IN ('ShareLock', 'ShareRowExclusiveLock', 'AccessExclusiveLock')
        AND s.backend_xid IS NOT NULL
),

-- The xmax of each row that defines a relation, as an age: of two transactions the younger one is the later one.
replaced AS (
    SELECT
        h.pid,
        least(
            pg_catalog.age(c.xmax),
            (SELECT pg_catalog.min(pg_catalog.age(a.xmax)) FROM pg_catalog.pg_attribute AS a WHERE a.attrelid = c.oid),
            (SELECT pg_catalog.min(pg_catalog.age(k.xmax)) FROM pg_catalog.pg_constraint AS k WHERE k.conrelid = c.oid),
            (SELECT pg_catalog.min(pg_catalog.age(t.xmax)) FROM pg_catalog.pg_trigger AS t WHERE t.tgrelid = c.oid),
            (SELECT pg_catalog.min(pg_catalog.age(r.xmax)) FROM pg_catalog.pg_rewrite AS r WHERE r.ev_class = c.oid),
            (SELECT pg_catalog.min(pg_catalog.age(p.xmax)) FROM pg_catalog.pg_policy AS p WHERE p.polrelid = c.oid)
        ) <= pg_catalog.age(h.backend_xid) AS has_changed,
        CASE
            WHEN c.oid IS NULL THEN true
            WHEN h.mode = 'AccessExclusiveLock' THEN c.relhasrules OR c.relrowsecurity
            WHEN h.mode = 'ShareRowExclusiveLock' THEN c.relhastriggers
            ELSE false
        END AS may_hide
    FROM held AS h
    LEFT JOIN pg_catalog.pg_class AS c ON c.oid = h.relation
)

SELECT
    r.pid,
    CASE WHEN pg_catalog.bool_or(r.has_changed) THEN true WHEN NOT pg_catalog.bool_or(r.may_hide) THEN false END
        AS has_changed
FROM replaced AS r
GROUP BY r.pid;
