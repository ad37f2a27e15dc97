-- The same for roles. Only a superuser may read their catalog, so this is asked by itself, and may be refused.
SELECT
    c.tableoid AS classid,
    c.oid,
    c.xmax::pg_catalog.text::pg_catalog.int8 AS transaction
FROM pg_catalog.pg_authid AS c
WHERE
    c.oid OPERATOR(pg_catalog.=) ANY (%(oids)s::pg_catalog.oid[])
    AND c.xmax OPERATOR(pg_catalog.<>) '0'::pg_catalog.xid;
