-- One row for each role and each database: the names behind the OIDs of the activity functions.
-- Kept out of the poll (it waits behind a lock on pg_authid or pg_database): read once, and again for a new OID.
SELECT 'role' AS kind, r.oid, r.rolname::pg_catalog.text AS name, r.rolsuper AS is_superuser
FROM pg_catalog.pg_roles AS r
UNION ALL
SELECT 'database', d.oid, d.datname::pg_catalog.text, false
FROM pg_catalog.pg_database AS d;
