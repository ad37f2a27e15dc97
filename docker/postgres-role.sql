-- The role that pgdoctor connects as. Run this as a superuser, once for the whole server; again does no harm.

-- First, and before any other statement: the owner of the database may have put functions and operators of his before
-- the server's, and they would run with your rights.
SET search_path = pg_catalog, pg_temp;
SET standard_conforming_strings = on;

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'pgdoctor') THEN
        CREATE ROLE pgdoctor LOGIN;
    END IF;
END
$$;
-- It has no password yet. Give it one with \password in psql: one in a statement ends up in logs and histories.

-- To see states, statements and times of other users' sessions. Without it blocked sessions are still found, but
-- most causes stay unknown.
GRANT pg_monitor TO pgdoctor;

-- The server's own setting must not end its connections. Agents, commands and exporters need no more than ten.
ALTER ROLE pgdoctor SET idle_session_timeout = 0;
ALTER ROLE pgdoctor CONNECTION LIMIT 10;

-- To get in when all other connections are taken (PostgreSQL 16 or later, with reserved_connections set).
DO $$
BEGIN
    IF pg_catalog.current_setting('server_version_num')::pg_catalog.int4 >= 160000 THEN
        GRANT pg_use_reserved_connections TO pgdoctor;
    END IF;
END
$$;

-- It may look, and no more. To let it cancel and terminate: pgdoctor setup --act, or, through functions that check
-- again on the server, pgdoctor setup --wrapper

RESET search_path;
RESET standard_conforming_strings;
