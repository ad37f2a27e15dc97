-- No row. The transaction that has just begun may write, as no other of our session may; and it waits for no standby:
-- one that is lost would hold up the disarm that is typed because of it.
SET TRANSACTION READ WRITE;
SET LOCAL synchronous_commit = local;
