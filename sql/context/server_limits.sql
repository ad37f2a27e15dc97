-- One row: since when the server runs and its configuration holds, its limits, and commits that wait for a standby.
-- Functions and settings alone, which wait behind no lock.
SELECT
    pg_catalog.clock_timestamp() AS read_at,
    pg_catalog.pg_postmaster_start_time() AS started,
    pg_catalog.pg_conf_load_time() AS configured,
    pg_catalog.current_setting('superuser_reserved_connections')::pg_catalog.int4
    -- Since 16.
    + coalesce(pg_catalog.current_setting('reserved_connections', true), '0')::pg_catalog.int4 AS reserved_connections,
    pg_catalog.current_setting('autovacuum_freeze_max_age')::pg_catalog.int8 AS freeze_max_age,
    pg_catalog.current_setting('autovacuum_multixact_freeze_max_age')::pg_catalog.int8 AS multixact_freeze_max_age,
    pg_catalog.pg_size_bytes(pg_catalog.current_setting('max_wal_size')) AS max_wal_size,
    pg_catalog.pg_size_bytes(
        nullif(pg_catalog.current_setting('max_slot_wal_keep_size'), '-1')
    ) AS max_slot_wal_keep_size,
    pg_catalog.current_setting('synchronous_standby_names') AS synchronous_standby_names,
    x.oldest_xid,
    x.next_xid,
    -- Of a standby: whether it replays, how much it has received and not replayed, and whether a WAL sender is
    -- connected.
    CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_is_wal_replay_paused() ELSE false END AS replay_paused,
    CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_wal_lsn_diff(
        pg_catalog.pg_last_wal_receive_lsn(), pg_catalog.pg_last_wal_replay_lsn()
    ) END::pg_catalog.int8 AS unreplayed,
    pg_catalog.pg_is_in_recovery() AS in_recovery,
    -- Of a primary, in hexadecimal digits: a name of a WAL file begins with it.
    CASE WHEN NOT pg_catalog.pg_is_in_recovery() THEN pg_catalog.left(
        pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()), 8
    ) END AS wal_timeline,
    pg_catalog.current_setting('hot_standby_feedback')::pg_catalog.bool AS hot_standby_feedback,
    pg_catalog.count(s.pid) FILTER (WHERE s.wait_event = 'SyncRep')::pg_catalog.int4 AS sync_waiters,
    pg_catalog.min(s.query_start) FILTER (WHERE s.wait_event = 'SyncRep') AS oldest_sync_wait,
    pg_catalog.count(s.pid) FILTER (WHERE s.wait_event = 'SafeSnapshot')::pg_catalog.int4 AS snapshot_waiters,
    pg_catalog.count(s.pid) FILTER (WHERE s.wait_event_type = 'BufferPin')::pg_catalog.int4 AS pin_waiters
FROM (
    SELECT
        pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())::pg_catalog.text::pg_catalog.int8 AS oldest_xid,
        pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())::pg_catalog.text::pg_catalog.int8 AS next_xid
) AS x
LEFT JOIN pg_catalog.pg_stat_get_activity(NULL) AS s
    ON
    (s.wait_event IN ('SyncRep', 'SafeSnapshot') AND s.backend_type = 'client backend')
    OR (s.wait_event_type = 'BufferPin' AND s.backend_type <> 'startup')
GROUP BY x.oldest_xid, x.next_xid;
