-- One row for each of these roles: whether it is a superuser, and whether our role may signal its sessions, by the
-- server's own rule (14 to 18): a superuser's only as a superuser; any other session with the privileges of that role,
-- or
-- of pg_signal_backend. Asked for during incidents only, and only about the users who block.
SELECT
    r.oid AS role_oid,
    r.rolsuper AS is_superuser,
    pg_catalog.current_setting('is_superuser') = 'on'
    OR (
        NOT r.rolsuper
        AND (
            pg_catalog.pg_has_role(r.oid, 'USAGE')
            OR pg_catalog.pg_has_role('pg_signal_backend', 'USAGE')
        )
    ) AS may_signal
FROM pg_catalog.pg_roles AS r
WHERE r.oid = ANY (%(role_oids)s::pg_catalog.oid[]);
