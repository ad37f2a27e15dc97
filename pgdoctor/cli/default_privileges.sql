DO $$
DECLARE
    given record;
BEGIN
    -- Default privileges of the role that runs this may have given the functions to others.
    FOR given IN
        SELECT p.oid::regprocedure AS signature, a.grantee::regrole AS grantee
        FROM pg_proc AS p
        CROSS JOIN LATERAL aclexplode(p.proacl) AS a
        WHERE
            p.pronamespace = 'pgdoctor'::regnamespace
            AND p.proowner = '{owner}'::regrole
            AND a.grantee NOT IN (0, p.proowner)
    LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM %s CASCADE', given.signature, given.grantee);
    END LOOP;
    FOR given IN
        SELECT a.grantee::regrole AS grantee
        FROM pg_namespace AS n
        CROSS JOIN LATERAL aclexplode(n.nspacl) AS a
        WHERE n.nspname = 'pgdoctor' AND a.privilege_type = 'CREATE' AND a.grantee NOT IN (0, n.nspowner)
    LOOP
        EXECUTE format('REVOKE CREATE ON SCHEMA pgdoctor FROM %s CASCADE', given.grantee);
    END LOOP;
END
$$;
