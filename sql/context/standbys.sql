-- One row for each walsender: who receives WAL, and how far behind its replay is.
-- The functions and not the view pg_stat_replication, which joins pg_authid.
SELECT
    s.application_name,
    pg_catalog.host(s.client_addr) AS client_addr,
    w.state,
    w.sync_state,
    pg_catalog.pg_wal_lsn_diff(
        CASE
            WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn()
            ELSE pg_catalog.pg_current_wal_lsn()
        END,
        w.replay_lsn
    )::pg_catalog.int8 AS behind,
    extract(EPOCH FROM w.replay_lag)::pg_catalog.float8 AS lag
FROM pg_catalog.pg_stat_get_wal_senders() AS w
LEFT JOIN pg_catalog.pg_stat_get_activity(NULL) AS s ON s.pid = w.pid
ORDER BY behind DESC NULLS LAST
LIMIT %(most)s;
