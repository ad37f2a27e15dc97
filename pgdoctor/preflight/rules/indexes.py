"""Indexes: made, dropped, changed, rebuilt."""

from pgdoctor.preflight.rule import LockRule

_LEFT = "If it fails or is cancelled, an invalid index stays: DROP INDEX CONCURRENTLY, then try again."
_CREATE = "CREATE INDEX CONCURRENTLY <name> ON {table} <columns>; -- outside of a transaction"
_REBUILT = (
    "table S; table.children S; table.children.indexes AE; table.children.toast S; table.children.toast.indexes AE"
)
_INDEX_BESIDE = LockRule(
    "reindex [()] index concurrently {index:r}",
    locks="index SUE; index.owner SUE",
    waits="users_and_snapshots",
    is_alone=True,
    work="build",
    works_on="index.owner",
    note=_LEFT,
    is_at_most=True,
)
_TABLE_BESIDE = LockRule(
    "reindex [()] table concurrently {table:r}",
    locks="family SUE; family.indexes SUE; family.toast SUE; family.toast.indexes SUE",
    waits="users_and_snapshots",
    is_alone=True,
    work="build",
    works_on="family",
    note=_LEFT,
    is_at_most=True,
)

STATEMENTS: tuple[LockRule, ...] = (
    LockRule(
        "create [unique] index concurrently [if not exists] {new:r} on {table:r} ...",
        locks="table SUE",
        waits="writers",
        is_alone=True,
        note=_LEFT,
        work="build",
    ),
    LockRule(
        "create [unique] index concurrently on {table:r} ...",
        locks="table SUE",
        waits="writers",
        is_alone=True,
        note=_LEFT,
        work="build",
    ),
    LockRule(
        "create [unique] index [if not exists] {new:r} on {table:r} ...",
        locks="family S",
        work="build",
        works_on="family",
        safe=_CREATE,
    ),
    LockRule("create [unique] index on {table:r} ...", locks="family S", work="build", works_on="family", safe=_CREATE),
    LockRule(
        "drop index concurrently [if exists] {index:r} [restrict]",
        locks="index SUE; index.owner SUE",
        waits="users",
        is_alone=True,
        note=_LEFT,
    ),
    LockRule(
        "drop index [if exists] {index:l} [restrict|cascade]",
        locks="index.children AE; index.children.owner AE; index.parents AE",
        safe="DROP INDEX CONCURRENTLY {index}; -- outside of a transaction",
    ),
    LockRule("alter index [if exists] {index:r} rename to {new}", locks="index SUE"),
    LockRule("alter index [if exists] {index:r} set|reset ()", locks="index SUE"),
    LockRule(
        "alter index [if exists] {index:r} set tablespace {place}",
        locks="index AE",
        work="rewrite",
        works_on="index",
        is_at_most=True,
    ),
    LockRule(
        "alter index [if exists] {index:r} attach partition {other:r}",
        locks="index SUE; other AE; index.owner AS; other.owner AS",
        is_at_most=True,
    ),
    LockRule("alter index [if exists] {index:r} alter [column] # set statistics #", locks="index SUE"),
    LockRule(
        "alter index [if exists] {index:r} [no] depends on extension {extension}",
        locks="index AE",
        objects="extension AE",
        is_at_most=True,
    ),
    _INDEX_BESIDE,
    _INDEX_BESIDE._replace(form="reindex () index {index:r}", when="is_concurrent"),
    _TABLE_BESIDE,
    _TABLE_BESIDE._replace(form="reindex () table {table:r}", when="is_concurrent"),
    LockRule(
        "reindex [()] schema {schemas:l}",
        locks="members.stored S; members.indexes AE; members.toast S; members.toast.indexes AE",
        work="build",
        works_on="members.stored",
        is_alone=True,
        is_at_most=True,
        safe="REINDEX SCHEMA CONCURRENTLY <schema>;",
        note="Each table is reindexed in a transaction of its own.",
    ),
    LockRule(
        "reindex [()] index {index:r}",
        locks="index.children AE; index.children.owner S",
        work="build",
        works_on="index.owner",
        safe="REINDEX INDEX CONCURRENTLY {index}; -- outside of a transaction",
    ),
    LockRule(
        "reindex [()] table {table:r}",
        locks=_REBUILT,
        work="build",
        safe="REINDEX TABLE CONCURRENTLY {table}; -- outside of a transaction",
    ),
)
