-- One row for each advisory lock of a pgdoctor whose key begins as the leader lock's does, in whatever database: who
-- leads, claims leadership, or waits for its turn. Locks of strangers are left out.
-- The functions and not the views: the views wait behind locks on pg_authid and pg_database. The locks are read first:
-- a holder that has no entry in the activity has just ended, and is counted to be safe.
SELECT
    l.pid,
    l.pid = pg_catalog.pg_backend_pid() AS is_own,
    l.pid < pg_catalog.pg_backend_pid() AS outranks,
    l.objid::pg_catalog.int8 AS number,
    -- 0: it claims leadership; 1: it leads; 2: it waits for its turn.
    (l.objid::pg_catalog.int8 >> 1 & 3)::pg_catalog.int4 AS stage,
    coalesce(s.usesysid = o.usesysid, false) AS has_own_role,
    pg_catalog.host(s.client_addr) AS client_addr
FROM pg_catalog.pg_lock_status() AS l
LEFT JOIN LATERAL pg_catalog.pg_stat_get_activity(l.pid) AS s ON l.pid IS NOT NULL
LEFT JOIN LATERAL pg_catalog.pg_stat_get_activity(pg_catalog.pg_backend_pid()) AS o ON true
WHERE
    l.locktype = 'advisory'
    AND l.granted
    AND l.objsubid = 1
    AND l.classid::pg_catalog.int8 = %(key)s::pg_catalog.int8 >> 32
    -- A dry run leads in its own right.
    AND l.objid::pg_catalog.int8 & 1 = %(key)s::pg_catalog.int8 & 1
    AND CASE
        -- A prepared transaction.
        WHEN l.pid IS NULL THEN false
        WHEN s.pid IS NULL THEN true
        WHEN s.application_name IS DISTINCT FROM %(own_application)s::pg_catalog.text THEN false
        WHEN s.usesysid = o.usesysid THEN true
        -- A role that may signal us could end us anyway: its word that it is a pgdoctor is taken.
        ELSE coalesce(pg_catalog.pg_has_role(s.usesysid, 'pg_signal_backend', 'USAGE'), false)
    END;
