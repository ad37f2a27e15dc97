-- One row: how many processes wait for a lock and do not show in the activity. Before 18 a login shows there only when
-- it is over; held up by a lock on a catalog that each login reads (pg_authid, pg_database), it never is.
-- Costs what a read of all locks costs, 0.5 us each (measured): not for every poll.
SELECT pg_catalog.count(DISTINCT l.pid)::pg_catalog.int4 AS startup_waiters
FROM pg_catalog.pg_lock_status() AS l
WHERE
    NOT l.granted
    AND l.pid IS NOT NULL
    AND (l.waitstart > pg_catalog.clock_timestamp() - %(wait_threshold)s) IS NOT TRUE
    AND l.pid NOT IN (SELECT s.pid FROM pg_catalog.pg_stat_get_activity(NULL) AS s);
