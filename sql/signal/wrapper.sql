-- One row: whether our role may use the two functions of `pgdoctor setup --wrapper` that agents signal by, and the two
-- for a person, which earlier versions did not make; and whether these are they: they run with the rights of
-- pgdoctor_signaller, which may signal and cannot log in. Any role that may make a
-- schema could make functions of these names. Another owner could change them after this check, to run with our rights.
SELECT
    pg_catalog.count(*) FILTER (WHERE NOT wanted.by_person) = 2 AS is_usable,
    pg_catalog.count(*) FILTER (WHERE wanted.by_person) = 2 AS is_usable_by_person
FROM pg_catalog.pg_namespace AS n
CROSS JOIN
    LATERAL (
        VALUES
        (n.nspname || '.cancel_session(int4, timestamptz, timestamptz, timestamptz, text, timestamptz, float8)', false),
        (
            n.nspname || '.terminate_session(int4, timestamptz, timestamptz, timestamptz, text, timestamptz, float8, int8)',
            false
        ),
        (n.nspname || '.cancel_by_person(int4, timestamptz, timestamptz, timestamptz, text, timestamptz)', true),
        (n.nspname || '.terminate_by_person(int4, timestamptz, timestamptz, timestamptz, text, timestamptz, int8)', true)
    ) AS wanted (signature, by_person)
-- Not named without the right to look into the schema: that would be an error.
JOIN pg_catalog.pg_proc AS p ON p.oid = pg_catalog.to_regprocedure(wanted.signature)
WHERE
    n.nspname = 'pgdoctor'
    AND pg_catalog.has_schema_privilege(n.oid, 'USAGE')
    AND pg_catalog.has_function_privilege(p.oid, 'EXECUTE')
    AND p.prosecdef
    AND pg_catalog.pg_get_userbyid(p.proowner) = 'pgdoctor_signaller'
    AND NOT pg_catalog.pg_has_role(p.proowner, 'MEMBER')
    AND pg_catalog.pg_has_role(p.proowner, 'pg_signal_backend', 'USAGE');
