-- One row, after so many seconds. The next statement of the same batch reads new rows of the activity: within a
-- transaction, and a batch is one, the server shows the activity as it was at the first read.
SELECT
    pg_catalog.pg_sleep(%(seconds)s),
    pg_catalog.pg_stat_clear_snapshot();
