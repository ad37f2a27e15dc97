-- One row for each role by its name of now, and for each role that it is a member of, directly or through others.
-- From the catalog: pg_has_role() answers for a superuser that it is a member of everything. The names come from
-- pg_roles, which all roles may read. Asked for during incidents only, and only about the users in them.
WITH RECURSIVE membership (member_oid, role_oid) AS (
    SELECT m.member, m.roleid
    FROM pg_catalog.pg_auth_members AS m
    WHERE m.member = ANY (%(role_oids)s::pg_catalog.oid[])
    UNION
    SELECT membership.member_oid, m.roleid
    FROM membership
    JOIN pg_catalog.pg_auth_members AS m ON m.member = membership.role_oid
)

SELECT membership.member_oid, r.rolname::pg_catalog.text AS name, false AS is_own
FROM membership
JOIN pg_catalog.pg_roles AS r ON r.oid = membership.role_oid
UNION ALL
SELECT r.oid, r.rolname::pg_catalog.text, true
FROM pg_catalog.pg_roles AS r
WHERE r.oid = ANY (%(role_oids)s::pg_catalog.oid[]);
