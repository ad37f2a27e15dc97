-- One row. This session holds no leader lock any more; it has no other advisory locks.
SELECT pg_catalog.pg_advisory_unlock_all();
