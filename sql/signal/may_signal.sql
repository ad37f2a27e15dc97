-- One row: whether our role may signal the sessions of others, and whether it is a superuser, whom the server refuses
-- nothing. A REVOKE holds at once, for open connections too.
SELECT
    pg_catalog.pg_has_role('pg_signal_backend', 'USAGE') AS may_signal,
    pg_catalog.current_setting('is_superuser') = 'on' AS is_superuser;
