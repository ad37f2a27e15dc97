-- One row for each thing that active clients, and the workers of their parallel queries, wait for, and how many do.
-- Without a wait event a session computes. Asked several times in a row, this says what the server is busy with.
SELECT
    coalesce(s.wait_event_type, 'CPU') AS wait_event_type,
    s.wait_event,
    pg_catalog.count(*)::pg_catalog.int4 AS sessions
FROM pg_catalog.pg_stat_get_activity(NULL) AS s
WHERE
    s.state = 'active'
    AND s.backend_type IN ('client backend', 'parallel worker')
    AND s.pid <> pg_catalog.pg_backend_pid()
GROUP BY s.wait_event_type, s.wait_event;
