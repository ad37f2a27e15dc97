-- One row for each of the databases that are the furthest behind with freezing: in transaction and multixact ids.
-- Reads pg_database, and so waits behind a lock on it.
SELECT
    d.datname::pg_catalog.text AS database,
    pg_catalog.age(d.datfrozenxid)::pg_catalog.int8 AS xids,
    pg_catalog.mxid_age(d.datminmxid)::pg_catalog.int8 AS multixacts
FROM pg_catalog.pg_database AS d
ORDER BY greatest(pg_catalog.age(d.datfrozenxid), pg_catalog.mxid_age(d.datminmxid)) DESC
LIMIT %(most)s;
