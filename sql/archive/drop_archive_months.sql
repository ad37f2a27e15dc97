-- One row: how many partitions were dropped, of the months that ended before a moment.
SELECT pgdoctor_archive.drop_months(%(before)s::pg_catalog.timestamptz) AS dropped;
