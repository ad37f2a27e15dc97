-- One row for each setting of pgdoctor's own session, made so that it can neither hang nor hold anybody up.
-- No row, and nothing set, where a pooler answers by another session than the one that was connected to: whomever it
-- gives that session next would be read-only, and look for its tables in pg_catalog.
-- A role's or database's own settings (idle_session_timeout, default_transaction_read_only, ...) must not
-- end or hinder it; TimeZone makes every time read the same.
SELECT s.name, pg_catalog.set_config(s.name, s.value, false) AS value
FROM (
    VALUES
    ('statement_timeout', %(statement_timeout)s),
    ('lock_timeout', %(lock_timeout)s),
    ('idle_in_transaction_session_timeout', '0'),
    ('idle_session_timeout', '0'),
    -- Since 17; each statement of ours is a transaction, and has its own limit.
    ('transaction_timeout', '0'),
    ('default_transaction_read_only', 'on'),
    ('default_transaction_isolation', 'read committed'),
    ('max_parallel_workers_per_gather', '0'),
    ('jit', 'off'),
    -- One read of 40,000 locks stays in memory instead of going through a temporary file.
    ('work_mem', '32MB'),
    ('search_path', 'pg_catalog'),
    ('TimeZone', 'UTC')
) AS s (name, value)
WHERE
    pg_catalog.current_setting(s.name, true) IS NOT NULL
    AND pg_catalog.pg_backend_pid() = %(own_pid)s;
