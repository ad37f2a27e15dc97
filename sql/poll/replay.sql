-- One row on a standby: what the startup process waits for, how far it has replayed, and the settings that say how long
-- it waits for a session. No row where the process cannot be seen.
-- Asked only while replay waits for something that a session may hold, or while sessions wait for it. Functions and
-- settings alone, which wait behind no lock: replay may be in the middle of a lock on a catalog.
SELECT
    s.pid,
    s.wait_event_type,
    s.wait_event,
    pg_catalog.pg_last_wal_replay_lsn()::pg_catalog.text AS lsn,
    pg_catalog.pg_wal_lsn_diff(
        pg_catalog.pg_last_wal_receive_lsn(), pg_catalog.pg_last_wal_replay_lsn()
    )::pg_catalog.int8 AS unreplayed,
    pg_catalog.pg_last_xact_replay_timestamp() AS last_commit,
    s.is_streaming,
    extract(
        EPOCH FROM nullif(pg_catalog.current_setting('max_standby_streaming_delay'), '-1')::pg_catalog.interval
    )::pg_catalog.float8 AS streaming_delay,
    extract(
        EPOCH FROM nullif(pg_catalog.current_setting('max_standby_archive_delay'), '-1')::pg_catalog.interval
    )::pg_catalog.float8 AS archive_delay,
    pg_catalog.current_setting('hot_standby_feedback')::pg_catalog.bool AS hot_standby_feedback,
    pg_catalog.pg_is_wal_replay_paused() AS is_paused
FROM (
    SELECT
        a.pid,
        a.backend_type,
        a.wait_event_type,
        a.wait_event,
        -- The server has a WAL receiver while it replays what is streamed, and none while it reads an archive.
        pg_catalog.bool_or(a.backend_type = 'walreceiver') OVER () AS is_streaming
    FROM pg_catalog.pg_stat_get_activity(NULL) AS a
    WHERE a.backend_type IN ('startup', 'walreceiver')
) AS s
-- Promoted since the gate: there is no replay, and its functions fail.
WHERE s.backend_type = 'startup' AND pg_catalog.pg_is_in_recovery();
