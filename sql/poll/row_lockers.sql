-- One row for each session or prepared transaction, and asked table, that has a table lock under which rows are locked:
-- whose, which of the two modes, what other relations it locks so, and the beginning of its current or last statement.
-- The functions and not the views: the views wait behind locks on pg_authid and pg_database.
WITH lock AS MATERIALIZED (
    SELECT l.pid, l.virtualtransaction, l.locktype, l.database, l.relation, l.mode, l.transactionid, l.granted
    FROM pg_catalog.pg_lock_status() AS l
    WHERE
        NOT l.granted
        OR (l.locktype = 'relation' AND l.mode IN ('RowShareLock', 'RowExclusiveLock'))
        OR (l.locktype = 'transactionid' AND l.pid IS NULL)
),

holder AS MATERIALIZED (
    SELECT
        l.pid,
        l.virtualtransaction,
        l.database,
        l.relation,
        pg_catalog.bool_or(l.mode = 'RowShareLock') AS locks_rows,
        pg_catalog.bool_or(l.mode = 'RowExclusiveLock') AS changes_rows
    FROM lock AS l
    WHERE
        l.locktype = 'relation'
        AND l.granted
        AND (l.database, l.relation) IN (
            SELECT a.database, a.relation
            FROM ROWS FROM (
                pg_catalog.unnest(%(databases)s::pg_catalog.oid []),
                pg_catalog.unnest(%(relations)s::pg_catalog.oid [])
            ) AS a (database, relation)
        )
    GROUP BY l.pid, l.virtualtransaction, l.database, l.relation
    -- A convoy of a thousand waits for the row: none of them may hide who has it.
    ORDER BY coalesce(l.pid IN (SELECT u.pid FROM lock AS u WHERE NOT u.granted), false), l.pid
    LIMIT %(most)s
)

SELECT
    h.pid,
    p.gid,
    h.database,
    h.relation,
    h.locks_rows,
    h.changes_rows,
    coalesce(o.relations, '{}') AS others,
    pg_catalog.substring(pg_catalog.textsend(s.query), 1, %(statement_bytes)s) AS statement
FROM holder AS h
LEFT JOIN LATERAL pg_catalog.pg_stat_get_activity(h.pid) AS s ON h.pid IS NOT NULL
CROSS JOIN LATERAL (
    -- Relations of the system are locked for a moment only, whatever a transaction does.
    SELECT pg_catalog.array_agg(DISTINCT l.relation) AS relations
    FROM lock AS l
    WHERE
        l.virtualtransaction = h.virtualtransaction
        AND l.pid IS NOT DISTINCT FROM h.pid
        AND l.locktype = 'relation'
        AND l.granted
        AND l.relation >= 16384
        AND l.relation <> h.relation
) AS o
CROSS JOIN LATERAL (
    -- A prepared transaction is known by the lock on its own id.
    SELECT CASE WHEN h.pid IS NULL THEN (
        SELECT t.transactionid
        FROM lock AS t
        WHERE
            t.locktype = 'transactionid'
            AND t.pid IS NULL
            AND t.virtualtransaction = h.virtualtransaction
        LIMIT 1
    ) END AS xid
) AS x
LEFT JOIN pg_catalog.pg_prepared_xact() AS p ON p.transaction = x.xid
ORDER BY h.pid, p.gid, h.relation;
