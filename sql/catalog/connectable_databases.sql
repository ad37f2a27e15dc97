-- One row for each other database that clients may connect to, by name; at most as many as are asked for.
-- Asked for where a protection names a relation that the connected database does not have.
SELECT d.oid
FROM pg_catalog.pg_database AS d
WHERE
    d.datallowconn
    AND NOT d.datistemplate
    AND d.datname OPERATOR(pg_catalog.<>) pg_catalog.current_database()
ORDER BY d.datname
LIMIT %(most)s::pg_catalog.int8;
