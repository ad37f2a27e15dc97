-- One row for each session that waits or blocks: whom it waits for, the locks that explain it, its facts.
-- The row of pid 0, if any, carries the locks of all prepared transactions: they have no backend.
--
-- One statement, so that waits, locks and facts are of one moment, and one read of each source: pg_locks costs
-- about 0.5 us a lock in the whole server however little of it is returned (measured).
-- Who waits is taken from the ungranted rows of pg_locks, which needs no privilege and shows parallel workers,
-- whose leader only reports an IPC wait. The blockers of a session come from pg_blocking_pids() alone: it knows the
-- conflict table, the queue, lock groups and prepared transactions (as 0). The locks are evidence, never the verdict.
WITH lock AS MATERIALIZED (
    SELECT l.*
    FROM pg_catalog.pg_lock_status() AS l
    -- The predicate locks of SERIALIZABLE block no session.
    WHERE l.mode <> 'SIReadLock'
),

session AS MATERIALIZED (
    SELECT s.*
    FROM pg_catalog.pg_stat_get_activity(NULL) AS s
),

-- Parallel workers of a query wait and hold for their leader. Those that apply a subscription do so for themselves.
worker AS MATERIALIZED (
    SELECT s.pid, s.leader_pid
    FROM session AS s
    WHERE s.backend_type = 'parallel worker' AND s.leader_pid <> s.pid
),

ungranted AS MATERIALIZED (
    SELECT l.*
    FROM lock AS l
    WHERE NOT l.granted
),

blocked AS MATERIALIZED (
    SELECT w.pid, pg_catalog.pg_blocking_pids(w.pid) AS blocker_pids
    FROM (
        SELECT DISTINCT coalesce(worker.leader_pid, u.pid) AS pid
        FROM ungranted AS u
        LEFT JOIN worker ON worker.pid = u.pid
        WHERE u.pid IS NOT NULL
    ) AS w
),

-- Each in a line of a thousand waits for all that are ahead of it: half a million PIDs, which cost as much to write out,
-- send and read as to find. A list that begins with the next shorter one names its waiter, and has only the rest.
waiter AS MATERIALIZED (
    SELECT
        b.pid,
        CASE WHEN b.is_longer THEN b.shorter_pid END AS continues,
        CASE
            WHEN b.is_longer THEN b.blocker_pids[pg_catalog.cardinality(b.shorter_pids) + 1:] ELSE b.blocker_pids
        END AS blocker_pids
    FROM (
        SELECT
            a.*,
            a.blocker_pids[:pg_catalog.cardinality(a.shorter_pids)] OPERATOR(pg_catalog.=) a.shorter_pids AS is_longer
        FROM (
            SELECT
                w.pid,
                w.blocker_pids,
                pg_catalog.lag(w.pid) OVER line AS shorter_pid,
                pg_catalog.lag(w.blocker_pids) OVER line AS shorter_pids
            FROM blocked AS w
            WINDOW line AS (
                PARTITION BY w.blocker_pids[1], w.blocker_pids[2] ORDER BY pg_catalog.cardinality(w.blocker_pids)
            )
        ) AS a
    ) AS b
),

blocker AS MATERIALIZED (
    SELECT DISTINCT pg_catalog.unnest(w.blocker_pids) AS pid
    FROM waiter AS w
),

-- Blockers with their workers: whose held locks are evidence.
holder AS MATERIALIZED (
    SELECT b.pid FROM blocker AS b
    UNION
    SELECT worker.pid FROM worker JOIN blocker ON blocker.pid = worker.leader_pid
),

-- Waits whose own lock does not say which table they are about; the table locks of the waiter do.
tableless AS MATERIALIZED (
    SELECT DISTINCT u.pid
    FROM ungranted AS u
    WHERE u.locktype IN ('transactionid', 'virtualxid', 'spectoken')
),

-- Most rows of a big lock table belong to none of these: they are left out before anything else is asked.
involved AS MATERIALIZED (
    SELECT h.pid FROM holder AS h
    UNION
    SELECT t.pid FROM tableless AS t
),

evidence AS MATERIALIZED (
    SELECT coalesce(worker.leader_pid, l.pid, 0) AS session_pid, l.*
    FROM lock AS l
    LEFT JOIN worker ON worker.pid = l.pid
    WHERE (
        NOT l.granted
        OR l.pid IS NULL
        OR l.pid IN (SELECT i.pid FROM involved AS i)
    ) AND (
        NOT l.granted
        OR (l.pid IS NULL AND l.locktype = 'transactionid')
        OR (l.locktype = 'tuple' AND l.pid IN (SELECT t.pid FROM tableless AS t))
        OR (l.locktype = 'relation' AND l.mode <> 'AccessShareLock' AND l.pid IS NOT NULL)
        OR (
            (l.pid IS NULL OR l.pid IN (SELECT h.pid FROM holder AS h))
            -- Equality on each part, NULL made a value: unlike IS NOT DISTINCT FROM it can be hashed.
            AND (
                l.locktype, coalesce(l.database, 0), coalesce(l.relation, 0), coalesce(l.page, -1),
                coalesce(l.tuple, -1), coalesce(l.virtualxid, ''), coalesce(l.transactionid::pg_catalog.text, ''),
                coalesce(l.classid, 0), coalesce(l.objid, 0), coalesce(l.objsubid, -1)
            ) IN (
                SELECT
                    u.locktype, coalesce(u.database, 0), coalesce(u.relation, 0), coalesce(u.page, -1),
                    coalesce(u.tuple, -1), coalesce(u.virtualxid, ''), coalesce(u.transactionid::pg_catalog.text, ''),
                    coalesce(u.classid, 0), coalesce(u.objid, 0), coalesce(u.objsubid, -1)
                FROM ungranted AS u
            )
        )
    )
),

-- Each subtransaction that has an id holds a lock on it, besides that of the transaction.
nested AS MATERIALIZED (
    SELECT l.pid
    FROM lock AS l
    WHERE l.locktype = 'transactionid' AND l.granted AND l.pid IN (SELECT h.pid FROM holder AS h)
    GROUP BY l.pid
    HAVING pg_catalog.count(*) > 1
),

locks AS MATERIALIZED (
    SELECT
        e.session_pid AS pid,
        pg_catalog.json_agg(
            -- In the order of the fields of `Lock`.
            pg_catalog.json_build_array(
                e.pid, e.locktype, e.database, e.relation, e.page, e.tuple, e.virtualxid, e.transactionid,
                e.classid, e.objid, e.objsubid, e.virtualtransaction, e.mode, e.granted, e.waitstart
            )
        )::pg_catalog.text AS locks
    FROM evidence AS e
    GROUP BY e.session_pid
)

SELECT
    i.pid,
    -- It waits, and is a login that is not over: before 18 such a process does not show in the activity.
    waiter.pid IS NOT NULL AND (s.pid IS NULL OR s.state IS NOT DISTINCT FROM 'starting') AS is_starting,
    -- The waiter whose blockers are this one's as well, before those that stand here.
    waiter.continues,
    waiter.blocker_pids,
    locks.locks,
    s.datid AS database_oid,
    s.usesysid AS role_oid,
    s.application_name,
    pg_catalog.host(s.client_addr) AS client_addr,
    s.backend_type,
    s.state,
    -- Not all of it, for track_activity_query_size can be 1 MB; and cut as bytes, for functions of text may refuse
    -- the statement of a session in a database of another encoding.
    pg_catalog.substring(pg_catalog.textsend(s.query), 1, %(statement_bytes)s) AS statement,
    s.wait_event_type,
    s.wait_event,
    s.backend_start,
    s.xact_start,
    s.query_start,
    s.state_change,
    s.backend_xid IS NOT NULL AS has_xid,
    -- As in the gate.
    pg_catalog.hash_record_extended(
        row(
            s.pid, s.backend_start, s.xact_start, s.query_start, s.state_change, s.state, s.wait_event_type,
            s.wait_event, s.backend_xid IS NOT NULL
        ),
        0
    ) AS activity_hash,
    i.pid IN (SELECT n.pid FROM nested AS n) AS has_subtransactions
FROM (
    SELECT w.pid FROM waiter AS w
    UNION
    SELECT b.pid FROM blocker AS b
    UNION
    SELECT l.pid FROM locks AS l
) AS i
LEFT JOIN waiter ON waiter.pid = i.pid
LEFT JOIN locks ON locks.pid = i.pid
LEFT JOIN session AS s ON s.pid = i.pid;
