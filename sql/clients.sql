-- One row for each application, user and client address that is connected, those with the most connections first.
-- Reads the activity function alone, as the gate of a poll does.
SELECT
    s.application_name,
    s.usesysid AS role_oid,
    s.datid AS database_oid,
    pg_catalog.host(s.client_addr) AS client_addr,
    pg_catalog.count(*)::pg_catalog.int4 AS connections,
    pg_catalog.count(*) FILTER (WHERE s.state = 'idle')::pg_catalog.int4 AS idle,
    pg_catalog.count(*) FILTER (WHERE s.state LIKE 'idle in transaction%%')::pg_catalog.int4 AS idle_in_transaction,
    pg_catalog.count(*) FILTER (
        WHERE s.backend_start > pg_catalog.clock_timestamp() - %(fresh)s
    )::pg_catalog.int4 AS fresh,
    pg_catalog.min(s.backend_start) AS oldest
FROM pg_catalog.pg_stat_get_activity(NULL) AS s
WHERE
    -- A hidden session belongs to a client if it is in a database.
    coalesce(s.backend_type = 'client backend', s.datid IS NOT NULL)
    AND s.pid <> pg_catalog.pg_backend_pid()
GROUP BY s.application_name, s.usesysid, s.datid, s.client_addr
ORDER BY connections DESC
LIMIT %(most)s;
