-- No row. Sets what `pgdoctor setup` sets too, so that the row of the role's settings is ours until the end of the
-- transaction: a concurrent change waits, and fails with "tuple concurrently updated". No lock that
-- another session could take interferes.
ALTER ROLE {role} SET idle_session_timeout = 0;
