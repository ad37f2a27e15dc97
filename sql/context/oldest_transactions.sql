-- One row for each of the oldest open transactions of clients in one database that began before a moment: what a tool
-- may wait for that waits for their ends without a lock. VACUUM is left out, which such tools do not wait for.
SELECT
    s.pid,
    s.usesysid AS role_oid,
    s.datid AS database_oid,
    s.application_name,
    s.state,
    s.xact_start AS since,
    pg_catalog.substring(pg_catalog.textsend(s.query), 1, %(statement_bytes)s) AS statement
FROM pg_catalog.pg_stat_get_activity(NULL) AS s
WHERE
    s.datid = %(database_oid)s::pg_catalog.oid
    AND s.xact_start < %(before)s
    AND s.backend_type = 'client backend'
    AND s.pid NOT IN (%(own_pid)s, pg_catalog.pg_backend_pid())
    AND s.pid NOT IN (SELECT v.pid FROM pg_catalog.pg_stat_get_progress_info('VACUUM') AS v)
    AND s.application_name IS DISTINCT FROM %(own_application)s
ORDER BY s.xact_start, s.pid
LIMIT %(most)s;
