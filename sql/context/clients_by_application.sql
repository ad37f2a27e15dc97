-- One row for each application and user that is connected to a database, those with the most connections first; and
-- with each the sums of all, also of those beyond the limit.
-- Reads the activity function alone, as the gate of a poll does.
SELECT
    s.application_name,
    s.usesysid AS role_oid,
    s.datid AS database_oid,
    -- The one with the most connections.
    pg_catalog.host(pg_catalog.mode() WITHIN GROUP (ORDER BY s.client_addr)) AS client_addr,
    pg_catalog.count(DISTINCT s.client_addr)::pg_catalog.int4 AS addresses,
    pg_catalog.count(*)::pg_catalog.int4 AS connections,
    pg_catalog.count(*) FILTER (WHERE s.state = 'idle')::pg_catalog.int4 AS idle,
    pg_catalog.count(*) FILTER (WHERE s.state LIKE 'idle in transaction%%')::pg_catalog.int4 AS idle_in_transaction,
    -- All of these have done nothing since then.
    pg_catalog.max(s.state_change) FILTER (WHERE s.state LIKE 'idle in transaction%%') AS idle_in_transaction_since,
    pg_catalog.count(*) FILTER (WHERE a.is_fresh)::pg_catalog.int4 AS fresh,
    pg_catalog.min(s.backend_start) AS oldest,
    (pg_catalog.sum(pg_catalog.count(*)) OVER ())::pg_catalog.int4 AS all_connections,
    (pg_catalog.sum(pg_catalog.count(*) FILTER (WHERE a.is_fresh)) OVER ())::pg_catalog.int4 AS all_fresh
FROM pg_catalog.pg_stat_get_activity(NULL) AS s
CROSS JOIN LATERAL (SELECT s.backend_start > pg_catalog.clock_timestamp() - %(fresh)s AS is_fresh) AS a
WHERE
    -- A hidden session belongs to a client if it is in a database.
    coalesce(s.backend_type = 'client backend', s.datid IS NOT NULL)
    AND s.pid <> pg_catalog.pg_backend_pid()
GROUP BY s.application_name, s.usesysid, s.datid
ORDER BY connections DESC
LIMIT %(most)s;
