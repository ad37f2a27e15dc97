-- One row for each function of users, of the asked names, whose source names query_canceled or its SQLSTATE: an
-- exception handler of it may catch a cancel, which WHEN OTHERS does not (measured, 14 and 18).
SELECT DISTINCT p.proname::pg_catalog.text AS name
FROM pg_catalog.pg_proc AS p
WHERE
    p.proname = ANY (%(names)s::pg_catalog.text[])
    -- 11 is pg_catalog. A name would be looked up, and wait where a session has locked pg_namespace.
    AND p.pronamespace <> 11
    AND p.prosrc ~* '\m(query_canceled|57014)\M';
