"""The key of an advisory lock."""

#: As `pg_locks` has it: classid, objid, and objsubid: 1 for a bigint, 2 for a pair of integers.
AdvisoryKey = tuple[int, int, int]
