-- One row: the shared record of the pgdoctors of our role at this server (NULL: none), the role, and whether
-- nothing can be recorded here, for a standby takes no writes.
-- It is the role's own setting of application_name, which a pgdoctor sets for itself whenever it connects. The activity
-- function says which role we are: looking its name up would wait behind a lock on pg_authid.
SELECT
    (
        SELECT pg_catalog.substr(c.item, pg_catalog.length('application_name=') + 1)
        FROM pg_catalog.pg_db_role_setting AS s
        CROSS JOIN LATERAL pg_catalog.unnest(s.setconfig) AS c (item)
        WHERE s.setdatabase = 0 AND s.setrole = a.usesysid AND pg_catalog.starts_with(c.item, 'application_name=')
    ) AS record,
    session_user::pg_catalog.text AS role,
    pg_catalog.pg_is_in_recovery() AS in_recovery
FROM pg_catalog.pg_stat_get_activity(pg_catalog.pg_backend_pid()) AS a;
