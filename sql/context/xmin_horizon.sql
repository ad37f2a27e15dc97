-- One row for each of the oldest snapshots and transactions for whose sake vacuum has to keep dead rows.
-- Functions alone, where the views would join catalogs. Left out is who holds nothing up: VACUUM itself.
SELECT h.kind, h.name, h.xids, h.since, h.state, h.role_oid, h.database_oid, h.application_name
FROM (
    SELECT
        CASE s.backend_type WHEN 'walsender' THEN 'standby' ELSE 'session' END AS kind,
        s.pid::pg_catalog.text AS name,
        greatest(pg_catalog.age(s.backend_xid), pg_catalog.age(s.backend_xmin))::pg_catalog.int8 AS xids,
        s.xact_start AS since,
        s.state,
        s.usesysid AS role_oid,
        s.datid AS database_oid,
        s.application_name
    FROM pg_catalog.pg_stat_get_activity(NULL) AS s
    WHERE
        (s.backend_xid IS NOT NULL OR s.backend_xmin IS NOT NULL)
        AND s.pid <> pg_catalog.pg_backend_pid()
        AND s.backend_type <> 'autovacuum worker'
        AND s.pid NOT IN (SELECT v.pid FROM pg_catalog.pg_stat_get_progress_info('VACUUM') AS v)
    UNION ALL
    SELECT
        'prepared_transaction', p.gid, pg_catalog.age(p.transaction)::pg_catalog.int8, p.prepared, NULL,
        p.ownerid, p.dbid, NULL
    FROM pg_catalog.pg_prepared_xact() AS p
    UNION ALL
    SELECT
        'slot',
        r.slot_name::pg_catalog.text,
        greatest(pg_catalog.age(r.xmin), pg_catalog.age(r.catalog_xmin))::pg_catalog.int8,
        NULL,
        CASE WHEN r.active THEN 'active' ELSE 'inactive' END,
        NULL,
        r.datoid,
        NULL
    FROM pg_catalog.pg_get_replication_slots() AS r
    WHERE r.xmin IS NOT NULL OR r.catalog_xmin IS NOT NULL
) AS h
ORDER BY h.xids DESC
LIMIT %(most)s;
