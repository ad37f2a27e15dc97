-- One row for each advisory lock that a session holds, of the asked ones: in each database that with the asked key.
-- Where the key is NULL, those of all sessions that are idle outside of a transaction: their locks are the session's.
SELECT
    l.pid,
    l.database AS database_oid,
    l.classid::pg_catalog.int8 AS classid,
    l.objid::pg_catalog.int8 AS objid,
    l.objsubid::pg_catalog.int4 AS objsubid,
    s.usesysid AS role_oid,
    s.application_name,
    s.state,
    -- Since when it does what it does: a lock that it holds is older, where it does nothing.
    CASE WHEN s.state = 'active' THEN s.query_start ELSE s.state_change END AS since
FROM pg_catalog.pg_lock_status() AS l
CROSS JOIN LATERAL pg_catalog.pg_stat_get_activity(l.pid) AS s
WHERE
    l.locktype = 'advisory'
    AND l.granted
    -- Not those of pgdoctor itself.
    AND l.classid::pg_catalog.int8 <> %(own_key)s::pg_catalog.int8 >> 32
    AND EXISTS (
        SELECT
        FROM ROWS FROM (
            pg_catalog.unnest(%(databases)s::pg_catalog.oid[]),
            pg_catalog.unnest(%(classids)s::pg_catalog.oid[]),
            pg_catalog.unnest(%(objids)s::pg_catalog.oid[]),
            pg_catalog.unnest(%(objsubids)s::pg_catalog.int2[])
        ) AS k (database, classid, objid, objsubid)
        WHERE
            l.database = k.database
            AND CASE
                WHEN k.objsubid IS NULL THEN s.state = 'idle'
                ELSE (l.classid, l.objid, l.objsubid) = (k.classid, k.objid, k.objsubid)
            END
    )
ORDER BY since
LIMIT %(most)s;
