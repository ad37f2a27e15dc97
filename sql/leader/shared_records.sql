-- One row for each role that has its own setting of application_name: the text, and whether it is our role. A record of
-- pgdoctor's is known by how it begins.
SELECT
    pg_catalog.pg_get_userbyid(s.setrole)::pg_catalog.text AS role,
    pg_catalog.substr(c.item, pg_catalog.length('application_name=') + 1) AS record,
    s.setrole = a.usesysid AS is_own
FROM pg_catalog.pg_stat_get_activity(pg_catalog.pg_backend_pid()) AS a
CROSS JOIN pg_catalog.pg_db_role_setting AS s
CROSS JOIN LATERAL pg_catalog.unnest(s.setconfig) AS c (item)
WHERE s.setdatabase = 0 AND s.setrole <> 0 AND pg_catalog.starts_with(c.item, 'application_name=')
ORDER BY 1;
