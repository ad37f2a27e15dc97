-- The role of pgdoctor. Run this as a superuser, or as the admin of a managed service, once for the whole server;
-- repeating it does no harm.

-- First of all: the owner of the database may have created functions and operators that hide the server's. They would
-- run with your rights.
SET search_path = pg_catalog, pg_temp;
SET standard_conforming_strings = on;

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'pgdoctor') THEN
        CREATE ROLE pgdoctor LOGIN;
    END IF;
END
$$;
DO $$
DECLARE
    members text;
BEGIN
    SELECT string_agg(quote_ident(r.rolname), ', ' ORDER BY r.rolname) INTO members
    FROM pg_auth_members AS m
    JOIN pg_roles AS g ON g.oid = m.roleid
    JOIN pg_roles AS r ON r.oid = m.member
    WHERE g.rolname = 'pgdoctor' AND NOT r.rolsuper AND r.rolname <> CURRENT_USER;
    IF members IS NOT NULL THEN
        RAISE WARNING 'members of the role get all its rights, also that to signal: %', members;
    END IF;
END
$$;
-- The role has no password yet. Set one with \password in psql: passwords in statements end up in logs and histories.

-- Permits reading states, statements and times of other sessions. Without it pgdoctor still finds blocked sessions,
-- but most causes stay unknown.
GRANT pg_monitor TO pgdoctor;

-- idle_session_timeout of the server must not close its connections. Ten connections are enough for all agents and
-- commands.
ALTER ROLE pgdoctor SET idle_session_timeout = 0;
ALTER ROLE pgdoctor CONNECTION LIMIT 10;

-- Permits connecting when all other connections are in use (PostgreSQL 16 or later, with reserved_connections set).
DO $$
BEGIN
    IF pg_catalog.current_setting('server_version_num')::pg_catalog.int4 >= 160000 THEN
        GRANT pg_use_reserved_connections TO pgdoctor;
    END IF;
EXCEPTION
    -- The admin of a managed service is no superuser, and often may not grant this one.
    WHEN insufficient_privilege THEN
        RAISE WARNING 'pg_use_reserved_connections is not granted: pgdoctor gets no connection when all are in use';
END
$$;

-- The role may only read. To permit signals: pgdoctor setup --act; or pgdoctor setup --wrapper, with functions that
-- check each signal again on the server

-- The statistics of columns stay hidden from the role, so it cannot tell whether an index would help. To permit numbers
-- from them, and no values: pgdoctor setup --stats

RESET search_path;
RESET standard_conforming_strings;
