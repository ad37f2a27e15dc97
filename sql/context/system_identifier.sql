-- One row: what tells this server from every other one; a standby has that of its primary, a restored copy too.
SELECT s.system_identifier::pg_catalog.text AS system_identifier
FROM pg_catalog.pg_control_system() AS s;
