-- What `pgdoctor setup` prints, for the server of compose.yml: enough to see, not to act.
CREATE ROLE pgdoctor LOGIN;
GRANT pg_monitor TO pgdoctor;
ALTER ROLE pgdoctor SET idle_session_timeout = 0;
