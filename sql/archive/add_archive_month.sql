-- One row: nothing. The partitions of the month of a moment exist afterwards.
SELECT pgdoctor_archive.add_month(%(moment)s::pg_catalog.timestamptz);
