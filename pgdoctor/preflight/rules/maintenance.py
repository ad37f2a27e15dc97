"""VACUUM, ANALYZE, CLUSTER, REFRESH MATERIALIZED VIEW."""

from pgdoctor.preflight.rule import LockRule

_WHOLE = "table AE; table.indexes AE; table.toast AE; table.toast.indexes AE"
_PGREPACK = "-- pg_repack rewrites the table while it is in use"
_REFRESH = "table AE; table.indexes AE; table.toast AE; table.toast.indexes AE"

STATEMENTS: tuple[LockRule, ...] = (
    LockRule(
        "vacuum full [freeze] [verbose] [analyze] {table:r} [()]",
        locks=_WHOLE,
        work="rewrite",
        safe=_PGREPACK,
        is_alone=True,
        is_at_most=True,
    ),
    LockRule(
        "vacuum () {table:r} [()]",
        locks=_WHOLE,
        work="rewrite",
        when="is_full",
        safe=_PGREPACK,
        is_alone=True,
        is_at_most=True,
    ),
    LockRule(
        "vacuum [()] [freeze] [verbose] [analyze] {tables:l} [()]",
        locks="family SUE; family.indexes RE; family.toast SUE; family.toast.indexes RE",
        work="scan",
        works_on="family",
        is_alone=True,
        is_at_most=True,
        note="At its end it may take AccessExclusiveLock to give empty pages back, and gives way to others.",
    ),
    LockRule("analyze|analyse [()] [verbose] {tables:l} [()]", locks="family SUE; stored.indexes AS"),
    LockRule("cluster [()] [verbose] {table:r} [using {index}]", locks=_WHOLE, work="rewrite", safe=_PGREPACK),
    LockRule(
        "refresh materialized view concurrently {table:r} [with] [data]",
        locks="table E; table.indexes RE; behind AS; behind.indexes AS",
        is_at_most=True,
    ),
    LockRule("refresh materialized view {table:r} with no data", locks=_REFRESH, is_at_most=True),
    LockRule("refresh materialized view {table:r} [with data]", locks=_REFRESH, work="rewrite", goes_on=True),
    LockRule(
        "refresh materialized view {table:r} [with data]",
        locks="behind AS; behind.indexes AS",
        work="scan",
        works_on="behind",
        is_at_most=True,
        safe="REFRESH MATERIALIZED VIEW CONCURRENTLY {table}; -- needs a unique index without WHERE",
    ),
)
