-- One row: whether this session now holds the advisory lock of that key. It is held until `resign`, or until the
-- connection ends.
SELECT pg_catalog.pg_try_advisory_lock(%(key)s::pg_catalog.int8) AS held;
