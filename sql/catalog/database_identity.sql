-- One row: in which database this session is, and of which server. A second connection may be led elsewhere, by a pooler
-- or by a database that has got the name of another one.
SELECT
    s.datid AS database_oid,
    pg_catalog.pg_postmaster_start_time() AS started
FROM pg_catalog.pg_stat_get_activity(pg_catalog.pg_backend_pid()) AS s;
