-- One row for each prepared transaction: what pg_blocking_pids() can only call 0.
-- The function and not the view pg_prepared_xacts: the view joins pg_database and pg_authid, and would wait
-- behind a lock on them.
SELECT
    p.transaction::pg_catalog.text::pg_catalog.int8 AS transactionid,
    p.gid,
    p.prepared,
    p.ownerid AS role_oid,
    p.dbid AS database_oid
FROM pg_catalog.pg_prepared_xact() AS p;
