-- One row: the search path that a session of this role in this database begins with, as its settings say; null: the
-- server's default.
SELECT pg_catalog.substr(s.setting, 13) AS search_path
FROM pg_catalog.pg_db_role_setting AS d
CROSS JOIN LATERAL pg_catalog.unnest(d.setconfig) AS s (setting)
WHERE
    pg_catalog.starts_with(s.setting, 'search_path=')
    AND d.setrole IN (
        0, (SELECT r.oid FROM pg_catalog.pg_roles AS r WHERE r.rolname OPERATOR(pg_catalog.=) SESSION_USER)
    )
    AND d.setdatabase IN (
        0, (SELECT b.oid FROM pg_catalog.pg_database AS b WHERE b.datname OPERATOR(pg_catalog.=) pg_catalog.current_database())
    )
ORDER BY d.setdatabase OPERATOR(pg_catalog.<>) 0 AND d.setrole OPERATOR(pg_catalog.<>) 0 DESC,
    d.setrole DESC, d.setdatabase DESC
LIMIT 1;
