-- One row for each of the clients whose statements began last, those with DDL first: what they run, or ran last.
-- Only the beginning of each, as bytes: for a statement can be a megabyte, and of another encoding.
SELECT
    s.pid,
    s.application_name,
    s.usesysid AS role_oid,
    s.datid AS database_oid,
    s.query_start,
    s.state = 'idle in transaction (aborted)'
    OR coalesce(s.wait_event_type = 'Lock', false) AS is_troubled,
    pg_catalog.substring(q.bytes, 1, %(statement_bytes)s) AS statement
FROM pg_catalog.pg_stat_get_activity(NULL) AS s
CROSS JOIN LATERAL (SELECT pg_catalog.textsend(s.query) AS bytes) AS q
WHERE
    s.backend_type = 'client backend'
    AND s.pid <> pg_catalog.pg_backend_pid()
    AND s.query_start IS NOT NULL
ORDER BY
    pg_catalog.encode(pg_catalog.substring(q.bytes, 1, 9), 'escape') ~* '^(alter|create|drop|truncate) ' DESC,
    s.query_start DESC
LIMIT %(most)s;
