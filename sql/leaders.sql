-- One row for each other session that holds the leader lock, in whatever database: an advisory lock is known by its
-- database too, so two agents in two databases of one server both get it.
SELECT DISTINCT l.pid
FROM pg_catalog.pg_lock_status() AS l
WHERE
    l.locktype = 'advisory'
    AND l.granted
    AND l.objsubid = 1
    AND l.classid::pg_catalog.int8 << 32 | l.objid::pg_catalog.int8 = %(key)s::pg_catalog.int8
    AND l.pid <> pg_catalog.pg_backend_pid();
