-- One row for each asked database that there is: whether our role may connect to it, and how many more connections the
-- limits of the server, of the role and of the database leave. NULL: no such limit, or none that holds for our role.
-- Asked before a connection to another database is opened, so that no login fails that can be known to fail. Reads
-- pg_database and pg_authid, and so waits behind a lock on them.
WITH session AS MATERIALIZED (
    SELECT
        s.datid,
        s.usesysid,
        s.pid,
        coalesce(s.backend_type = 'client backend', s.datid IS NOT NULL) AS is_client
    FROM pg_catalog.pg_stat_get_activity(NULL) AS s
),

own AS MATERIALIZED (
    SELECT r.oid, r.rolname, r.rolsuper, r.rolconnlimit
    FROM session AS s
    JOIN pg_catalog.pg_roles AS r ON r.oid = s.usesysid
    WHERE s.pid = pg_catalog.pg_backend_pid()
)

SELECT
    d.oid,
    d.datname::pg_catalog.text AS name,
    pg_catalog.quote_ident(d.datname) AS quoted,
    pg_catalog.quote_ident(own.rolname) AS quoted_role,
    d.datallowconn AS allows_connections,
    pg_catalog.has_database_privilege(own.oid, d.oid, 'CONNECT') AS may_connect,
    (
        pg_catalog.current_setting('max_connections')::pg_catalog.int4
        - pg_catalog.current_setting('superuser_reserved_connections')::pg_catalog.int4
        -- Since 16.
        - coalesce(pg_catalog.current_setting('reserved_connections', true), '0')::pg_catalog.int4
        - (SELECT pg_catalog.count(*) FROM session AS s WHERE s.is_client)
    )::pg_catalog.int4 AS left_of_server,
    CASE
        WHEN own.rolconnlimit >= 0 AND NOT own.rolsuper
            THEN own.rolconnlimit - (SELECT pg_catalog.count(*) FROM session AS s WHERE s.usesysid = own.oid)
    END::pg_catalog.int4 AS left_of_role,
    CASE
        WHEN d.datconnlimit >= 0 AND NOT own.rolsuper
            THEN d.datconnlimit - (SELECT pg_catalog.count(*) FROM session AS s WHERE s.datid = d.oid AND s.is_client)
    END::pg_catalog.int4 AS left_of_database,
    pg_catalog.pg_postmaster_start_time() AS started
FROM pg_catalog.pg_database AS d
CROSS JOIN own
WHERE d.oid = ANY (%(oids)s::pg_catalog.oid[]);
