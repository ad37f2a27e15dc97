-- One row for each session or prepared transaction that holds an advisory lock whose key begins as the leader lock's
-- does, in whatever database, and that is no pgdoctor of our role: who that is, and how many such locks it has.
-- `may_signal`: it calls itself pgdoctor, and its role may signal us; it is taken for another pgdoctor.
-- The functions and not the views: the views wait behind locks on pg_authid and pg_database.
SELECT
    l.pid,
    p.gid,
    pg_catalog.count(*)::pg_catalog.int4 AS locks,
    coalesce(
        CASE
            WHEN s.application_name = %(own_application)s::pg_catalog.text
                THEN pg_catalog.pg_has_role(s.usesysid, 'pg_signal_backend', 'USAGE')
        END,
        false
    ) AS may_signal,
    coalesce(s.usesysid, p.ownerid) AS role_oid,
    pg_catalog.min(l.database) AS database_oid,
    s.application_name,
    pg_catalog.host(s.client_addr) AS client_addr
FROM pg_catalog.pg_lock_status() AS l
LEFT JOIN LATERAL pg_catalog.pg_stat_get_activity(l.pid) AS s ON l.pid IS NOT NULL
CROSS JOIN LATERAL (
    -- A prepared transaction is known by the lock on its own id.
    SELECT CASE WHEN l.pid IS NULL THEN (
        SELECT t.transactionid
        FROM pg_catalog.pg_lock_status() AS t
        WHERE
            t.locktype = 'transactionid'
            AND t.pid IS NULL
            AND t.virtualtransaction = l.virtualtransaction
        LIMIT 1
    ) END AS xid
) AS x
LEFT JOIN pg_catalog.pg_prepared_xact() AS p ON p.transaction = x.xid
LEFT JOIN LATERAL pg_catalog.pg_stat_get_activity(pg_catalog.pg_backend_pid()) AS o ON true
WHERE
    l.locktype = 'advisory'
    AND l.granted
    AND l.objsubid = 1
    AND l.classid::pg_catalog.int8 = %(key)s::pg_catalog.int8 >> 32
    -- A holder without an entry has just ended.
    AND (s.pid IS NOT NULL OR l.pid IS NULL)
    AND (s.usesysid = o.usesysid AND s.application_name = %(own_application)s::pg_catalog.text) IS NOT TRUE
GROUP BY l.pid, p.gid, s.usesysid, p.ownerid, s.application_name, s.client_addr
ORDER BY l.pid
LIMIT %(most)s;
