-- One row for each table below one of the asked tables, by partition or by inheritance, at any depth.
-- pg_partition_tree() would wait behind an AccessExclusiveLock on the table.
WITH RECURSIVE below (root_oid, oid) AS (
    SELECT i.inhparent, i.inhrelid
    FROM pg_catalog.pg_inherits AS i
    WHERE i.inhparent = ANY (%(oids)s::pg_catalog.oid[])
    UNION
    SELECT b.root_oid, i.inhrelid
    FROM below AS b
    JOIN pg_catalog.pg_inherits AS i ON i.inhparent = b.oid
)

SELECT b.root_oid, b.oid
FROM below AS b
LIMIT 2000;
