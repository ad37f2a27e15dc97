-- One row for each asked object that there is: its type, and its name as it would be written in a statement.
-- For locks of type object that a session waits for, and no others. Not pg_describe_object(), which speaks the
-- server's language. It reads the catalog of the object, and so waits behind a lock on that one.
SELECT
    a.classid,
    a.objid,
    i.type,
    pg_catalog.left(i.identity, %(most_characters)s) AS name
FROM ROWS FROM (
    pg_catalog.unnest(%(classids)s::pg_catalog.oid[]), pg_catalog.unnest(%(objids)s::pg_catalog.oid[])
) AS a (classid, objid)
CROSS JOIN LATERAL pg_catalog.pg_identify_object(a.classid, a.objid, 0) AS i
WHERE i.identity IS NOT NULL;
