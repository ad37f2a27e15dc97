-- One row for each table of an asked name that an asked session has locked, in any mode: `lock_waits` leaves out the
-- locks of those who only read.
SELECT DISTINCT l.pid, l.relation AS oid
FROM
    ROWS FROM (
        pg_catalog.unnest(%(pids)s::pg_catalog.int4[]), pg_catalog.unnest(%(names)s::pg_catalog.text[])
    ) AS a (pid, name)
CROSS JOIN pg_catalog.pg_lock_status() AS l
JOIN pg_catalog.pg_database AS d ON d.oid = l.database AND d.datname = pg_catalog.current_database()
JOIN pg_catalog.pg_class AS c ON c.oid = l.relation
WHERE
    l.pid = a.pid
    AND l.locktype = 'relation'
    AND l.granted
    AND c.relkind IN ('r', 'm')
    AND c.relname = a.name::pg_catalog.name;
