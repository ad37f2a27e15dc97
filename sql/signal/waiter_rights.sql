-- One row for each of these sessions that waits for a lock: why its wait does not count; NULL where it does.
-- A plain SELECT or UPDATE takes its table lock before the server looks at privileges (measured, 14 and 18), so any
-- role who may connect can queue behind an ALTER. For an advisory lock the server asks for no privilege at all: a wait
-- counts there of a user that is each one which holds it, or a member of it (a stranger may hold a shared lock, too).
-- For the end of a transaction any user can wait, by CREATE INDEX CONCURRENTLY on a table of his own. For a relation a
-- wait counts where its user may have what it asks for: by a privilege on the relation or a column of it (another one
-- than SELECT for more than AccessShareLock), as its owner or that of the schema or database, or through what leads
-- there: the parent of a partition, the table of an index or sequence, a view whose owner may, and for row locks the
-- other end of a foreign key. Roles that SET ROLE leads to are its user's too.
-- Catalogs only: no lock on the relation in question is taken, or waited for. Asked for before a signal only.
WITH RECURSIVE session AS MATERIALIZED (
    SELECT
        s.pid,
        s.usesysid AS role_oid,
        coalesce(CASE WHEN s.backend_type = 'parallel worker' THEN s.leader_pid END, s.pid) AS leader_pid
    FROM pg_catalog.pg_stat_get_activity(NULL) AS s
),

lock AS MATERIALIZED (
    SELECT
        l.pid,
        l.granted,
        l.locktype,
        l.mode,
        l.database,
        l.relation,
        l.classid,
        l.objid,
        l.objsubid
    FROM pg_catalog.pg_lock_status() AS l
),

request AS MATERIALIZED (
    SELECT
        s.leader_pid AS pid,
        s.role_oid,
        l.locktype,
        l.locktype = 'advisory' AND (
            SELECT pg_catalog.bool_and(coalesce(pg_catalog.pg_has_role(s.role_oid, o.role_oid, 'MEMBER'), false))
            FROM lock AS h
            LEFT JOIN session AS o ON o.pid = h.pid
            WHERE
                h.granted
                AND h.locktype = 'advisory'
                AND h.database = l.database
                AND h.classid = l.classid
                AND h.objid = l.objid
                AND h.objsubid = l.objsubid
        ) IS TRUE AS is_of_each_holder,
        l.relation,
        l.mode <> 'AccessShareLock' AS writes,
        l.mode IN ('RowShareLock', 'RowExclusiveLock') AS is_for_rows,
        l.database = d.oid AS is_here,
        l.locktype = 'relation' AND l.database = d.oid AND l.relation::pg_catalog.int8 >= 16384 AS is_of_a_table,
        d.datdba AS database_owner
    FROM lock AS l
    JOIN session AS s ON s.pid = l.pid
    CROSS JOIN pg_catalog.pg_database AS d
    WHERE
        NOT l.granted
        AND s.leader_pid = ANY (%(pids)s::pg_catalog.int4[])
        AND d.datname = pg_catalog.current_database()
),

-- The relation that is asked for, and those through which its lock may be asked for.
gateway (origin, writes, is_for_rows, relation, is_by_key) AS (
    SELECT DISTINCT r.relation, r.writes, r.is_for_rows, r.relation, false
    FROM request AS r
    WHERE r.is_of_a_table
    UNION
    SELECT g.origin, g.writes, g.is_for_rows, further.relation, g.is_by_key OR further.is_by_key
    FROM gateway AS g
    CROSS JOIN LATERAL (
        SELECT i.indrelid AS relation, false AS is_by_key
        FROM pg_catalog.pg_index AS i
        WHERE i.indexrelid = g.relation
        UNION ALL
        SELECT i.inhparent, false
        FROM pg_catalog.pg_inherits AS i
        WHERE i.inhrelid = g.relation
        UNION ALL
        SELECT d.refobjid, false
        FROM pg_catalog.pg_depend AS d
        WHERE
            d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
            AND d.objid = g.relation
            AND d.objsubid = 0
            AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
            AND d.deptype IN ('a', 'i')
        UNION ALL
        -- Foreign keys are checked as the owner of the table that is looked into. Only who may refer to it makes one.
        SELECT CASE WHEN k.conrelid = g.relation THEN k.confrelid ELSE k.conrelid END, true
        FROM pg_catalog.pg_constraint AS k
        WHERE g.is_for_rows AND k.contype = 'f' AND g.relation IN (k.conrelid, k.confrelid)
        UNION ALL
        -- Any role may make a view of anything: its owner has to have the privilege.
        SELECT v.oid, false
        FROM pg_catalog.pg_depend AS d
        JOIN pg_catalog.pg_rewrite AS w ON w.oid = d.objid
        JOIN pg_catalog.pg_class AS v ON v.oid = w.ev_class
        JOIN pg_catalog.pg_class AS t ON t.oid = g.relation
        WHERE
            d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass
            AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
            AND d.refobjid = g.relation
            AND v.oid <> g.relation
            AND v.relkind IN ('v', 'm')
            AND NOT EXISTS (
                SELECT FROM pg_catalog.pg_options_to_table(v.reloptions) AS o
                WHERE o.option_name = 'security_invoker' AND o.option_value::pg_catalog.bool
            )
            AND (
                pg_catalog.pg_has_role(v.relowner, t.relowner, 'MEMBER')
                OR EXISTS (
                    SELECT FROM pg_catalog.aclexplode(t.relacl) AS a
                    WHERE
                        (a.privilege_type <> 'SELECT' OR NOT g.writes)
                        AND (a.grantee = 0 OR pg_catalog.pg_has_role(v.relowner, a.grantee, 'MEMBER'))
                )
                OR EXISTS (
                    SELECT FROM pg_catalog.pg_attribute AS c
                    CROSS JOIN LATERAL pg_catalog.aclexplode(c.attacl) AS a
                    WHERE
                        c.attrelid = t.oid
                        AND c.attacl IS NOT NULL
                        AND (a.privilege_type <> 'SELECT' OR NOT g.writes)
                        AND (a.grantee = 0 OR pg_catalog.pg_has_role(v.relowner, a.grantee, 'MEMBER'))
                )
            )
    ) AS further
)

SELECT
    r.pid,
    pg_catalog.min(
        CASE
            -- One of the server's own processes, or a superuser.
            WHEN r.role_oid IS NULL OR u.rolsuper THEN NULL
            -- The server has looked at the privilege before it came to a row.
            WHEN r.locktype IN ('transactionid', 'tuple', 'spectoken') THEN NULL
            WHEN r.locktype = 'advisory' AND r.is_of_each_holder THEN NULL
            WHEN r.locktype = 'advisory' THEN 'any user can wait for an advisory lock, and another user holds it'
            WHEN r.locktype = 'virtualxid' THEN 'any user can wait for the end of a transaction'
            WHEN r.locktype <> 'relation' THEN 'its privilege on the object of its wait is unknown'
            -- All sessions need the system's own tables.
            WHEN r.relation::pg_catalog.int8 < 16384 THEN NULL
            WHEN NOT r.is_here THEN 'it waits in another database; privileges there cannot be read'
            WHEN EXISTS (
                SELECT FROM gateway AS g
                JOIN pg_catalog.pg_class AS t ON t.oid = g.relation
                JOIN pg_catalog.pg_namespace AS n ON n.oid = t.relnamespace
                WHERE
                    g.origin = r.relation
                    AND g.writes = r.writes
                    AND g.is_for_rows = r.is_for_rows
                    AND (
                        pg_catalog.pg_has_role(r.role_oid, t.relowner, 'MEMBER')
                        OR pg_catalog.pg_has_role(r.role_oid, n.nspowner, 'MEMBER')
                        OR pg_catalog.pg_has_role(r.role_oid, r.database_owner, 'MEMBER')
                        -- pg_read_all_data, pg_write_all_data, pg_maintain (17).
                        OR (pg_catalog.pg_has_role(r.role_oid, 6181, 'MEMBER') AND NOT g.writes)
                        OR pg_catalog.pg_has_role(r.role_oid, 6182, 'MEMBER')
                        OR pg_catalog.pg_has_role(r.role_oid, 6337, 'MEMBER')
                        OR EXISTS (
                            SELECT FROM pg_catalog.aclexplode(t.relacl) AS a
                            WHERE
                                (a.privilege_type <> 'SELECT' OR NOT (g.writes OR g.is_by_key))
                                AND (a.grantee = 0 OR pg_catalog.pg_has_role(r.role_oid, a.grantee, 'MEMBER'))
                        )
                        OR EXISTS (
                            SELECT FROM pg_catalog.pg_attribute AS c
                            CROSS JOIN LATERAL pg_catalog.aclexplode(c.attacl) AS a
                            WHERE
                                c.attrelid = t.oid
                                AND c.attacl IS NOT NULL
                                AND (a.privilege_type <> 'SELECT' OR NOT (g.writes OR g.is_by_key))
                                AND (a.grantee = 0 OR pg_catalog.pg_has_role(r.role_oid, a.grantee, 'MEMBER'))
                        )
                    )
            ) THEN NULL
            ELSE 'it has no privilege on the object of its wait'
        END
    ) AS objection
FROM request AS r
LEFT JOIN pg_catalog.pg_roles AS u ON u.oid = r.role_oid
GROUP BY r.pid;
