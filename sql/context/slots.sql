-- One row for each replication slot: what WAL it keeps, and how much more may be written before it is lost.
-- The function and not the view, which joins pg_database.
SELECT
    r.slot_name::pg_catalog.text AS name,
    r.slot_type = 'logical' AS is_logical,
    r.active AS is_active,
    r.wal_status,
    pg_catalog.pg_wal_lsn_diff(
        CASE
            WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn()
            ELSE pg_catalog.pg_current_wal_lsn()
        END,
        r.restart_lsn
    )::pg_catalog.int8 AS retained,
    r.safe_wal_size,
    r.datoid AS database_oid,
    -- Since 17.
    (pg_catalog.to_jsonb(r) ->> 'inactive_since')::pg_catalog.timestamptz AS inactive_since
FROM pg_catalog.pg_get_replication_slots() AS r
ORDER BY retained DESC NULLS LAST
LIMIT %(most)s;
