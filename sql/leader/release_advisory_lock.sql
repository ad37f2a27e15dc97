-- One row. This session no longer holds the advisory lock of that key.
SELECT pg_catalog.pg_advisory_unlock(%(key)s::pg_catalog.int8);
