-- One row for each other database that clients may connect to, by name; at most as many as are asked for.
-- Asked for where a protection names a relation that the connected database does not have, and after a signal to a
-- session of another database. `names`: only these; NULL: all.
SELECT d.oid
FROM pg_catalog.pg_database AS d
WHERE
    d.datallowconn
    AND NOT d.datistemplate
    AND d.datname OPERATOR(pg_catalog.<>) pg_catalog.current_database()
    AND (
        %(names)s::pg_catalog.text[] IS NULL
        OR d.datname::pg_catalog.text OPERATOR(pg_catalog.=) ANY (%(names)s::pg_catalog.text[])
    )
ORDER BY d.datname
LIMIT %(most)s::pg_catalog.int8;
