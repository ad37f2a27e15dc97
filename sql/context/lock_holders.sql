-- One row for each lock on one of the asked relations, objects or advisory keys, on the id of one of the asked
-- transactions, or of the asked session: held, or (not granted) waited for. Locks of the fast path are in it, too.
-- Those of predicate locking block no session: left out.
-- An advisory key is asked for in all databases: in each of them it is another lock.
WITH lock AS MATERIALIZED (
    SELECT l.*
    FROM pg_catalog.pg_lock_status() AS l
    WHERE l.mode <> 'SIReadLock'
),

-- Parallel workers of a query hold and wait for their leader.
worker AS MATERIALIZED (
    SELECT s.pid, s.leader_pid
    FROM pg_catalog.pg_stat_get_activity(NULL) AS s
    WHERE s.backend_type = 'parallel worker' AND s.leader_pid <> s.pid
)

SELECT
    coalesce(w.leader_pid, l.pid) AS session_pid,
    p.gid,
    l.pid, l.locktype, l.database, l.relation, l.page, l.tuple, l.virtualxid,
    l.transactionid::pg_catalog.text::pg_catalog.int8 AS transactionid,
    l.classid, l.objid, l.objsubid, l.virtualtransaction, l.mode, l.granted, l.waitstart,
    l.fastpath,
    l.database AS database_oid,
    (pg_catalog.count(*) OVER ())::pg_catalog.int4 AS total
FROM lock AS l
LEFT JOIN worker AS w ON w.pid = l.pid
CROSS JOIN LATERAL (
    -- A prepared transaction is known by the lock on its own id.
    SELECT CASE WHEN l.pid IS NULL THEN (
        SELECT t.transactionid
        FROM lock AS t
        WHERE
            t.locktype = 'transactionid'
            AND t.pid IS NULL
            AND t.virtualtransaction = l.virtualtransaction
        LIMIT 1
    ) END AS xid
) AS x
LEFT JOIN pg_catalog.pg_prepared_xact() AS p ON p.transaction = x.xid
WHERE
    (
        l.relation = ANY (%(relations)s::pg_catalog.oid[])
        AND l.database IN (0, (
            SELECT s.datid FROM pg_catalog.pg_stat_get_activity(pg_catalog.pg_backend_pid()) AS s
        ))
        AND l.pid IS DISTINCT FROM pg_catalog.pg_backend_pid()
    )
    -- The objsubid distinguishes the two: it is 1 or 2 of an advisory key and 0 of an object.
    OR (
        (l.locktype = 'advisory' OR (l.locktype = 'object' AND l.database IN (0, (
            SELECT s.datid FROM pg_catalog.pg_stat_get_activity(pg_catalog.pg_backend_pid()) AS s
        ))))
        AND (l.classid, l.objid, l.objsubid) IN (
            SELECT k.classid, k.objid, k.objsubid
            FROM ROWS FROM (
                pg_catalog.unnest(%(classids)s::pg_catalog.oid[]),
                pg_catalog.unnest(%(objids)s::pg_catalog.oid[]),
                pg_catalog.unnest(%(objsubids)s::pg_catalog.int2[])
            ) AS k (classid, objid, objsubid)
        )
        AND l.pid IS DISTINCT FROM pg_catalog.pg_backend_pid()
    )
    OR (
        l.locktype = 'transactionid'
        AND l.granted
        AND l.transactionid::pg_catalog.text::pg_catalog.int8 = ANY (%(transactions)s::pg_catalog.int8[])
    )
    OR coalesce(w.leader_pid, l.pid) = %(pid)s::pg_catalog.int4
ORDER BY l.granted DESC, l.waitstart, session_pid, l.locktype, l.relation
LIMIT %(most)s;
