-- One row for each of the sessions and prepared transactions with the most locks in the server's shared lock table, and
-- on each how full that is. Locks of the fast path are not in it; predicate locks have a table of their own.
-- Costs about 3 us a lock, most of it to tell the objects apart (measured: 112 ms at 40,000): for the survey only.
WITH lock AS MATERIALIZED (
    SELECT
        coalesce(CASE WHEN w.backend_type = 'parallel worker' THEN w.leader_pid END, l.pid) AS session_pid,
        l.*
    FROM pg_catalog.pg_lock_status() AS l
    LEFT JOIN pg_catalog.pg_stat_get_activity(NULL) AS w ON w.pid = l.pid
    WHERE NOT l.fastpath AND l.mode <> 'SIReadLock'
),

object AS MATERIALIZED (
    SELECT pg_catalog.count(*)::pg_catalog.int4 AS objects
    FROM (
        SELECT DISTINCT
            l.locktype, l.database, l.relation, l.page, l.tuple, l.virtualxid, l.transactionid,
            l.classid, l.objid, l.objsubid
        FROM lock AS l
    ) AS o
),

holder AS MATERIALIZED (
    SELECT
        l.session_pid AS pid,
        -- All prepared transactions have no PID.
        CASE WHEN l.session_pid IS NULL THEN l.virtualtransaction END AS prepared,
        pg_catalog.count(*)::pg_catalog.int4 AS locks,
        -- Weak table locks that the fast path had no room for, or could not take for the sake of a strong one.
        (pg_catalog.count(*) FILTER (
            WHERE
                l.locktype = 'relation'
                AND l.mode IN ('AccessShareLock', 'RowShareLock', 'RowExclusiveLock')
                AND l.database <> 0
        ))::pg_catalog.int4 AS overflowed,
        -- Each subtransaction that has an id holds a lock on it, besides that of the transaction.
        (pg_catalog.count(*) FILTER (WHERE l.locktype = 'transactionid' AND l.granted))::pg_catalog.int4 AS ids
    FROM lock AS l
    GROUP BY 1, 2
)

SELECT
    h.pid,
    p.gid,
    h.locks,
    h.overflowed,
    h.ids,
    o.objects,
    (pg_catalog.sum(h.overflowed) OVER ())::pg_catalog.int4 AS all_overflowed,
    pg_catalog.current_setting('max_locks_per_transaction')::pg_catalog.int4 AS max_locks_per_transaction,
    pg_catalog.current_setting('max_connections')::pg_catalog.int4 AS max_connections,
    pg_catalog.current_setting('max_prepared_transactions')::pg_catalog.int4 AS max_prepared_transactions,
    coalesce(s.usesysid, p.ownerid) AS role_oid,
    coalesce(s.datid, p.dbid) AS database_oid,
    s.application_name,
    s.backend_type,
    s.state,
    coalesce(s.xact_start, p.prepared) AS since,
    pg_catalog.substring(pg_catalog.textsend(s.query), 1, %(statement_bytes)s) AS statement
FROM object AS o
LEFT JOIN holder AS h ON true
LEFT JOIN pg_catalog.pg_stat_get_activity(NULL) AS s ON s.pid = h.pid
LEFT JOIN pg_catalog.pg_prepared_xact() AS p ON p.transaction = (
    SELECT t.transactionid
    FROM lock AS t
    WHERE t.locktype = 'transactionid' AND t.pid IS NULL AND t.virtualtransaction = h.prepared
    LIMIT 1
)
ORDER BY h.locks DESC NULLS LAST, h.pid
LIMIT %(most)s;
