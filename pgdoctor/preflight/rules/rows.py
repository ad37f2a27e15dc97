"""Queries, and statements that change rows.

Which partitions, indexes and referenced tables are locked depends on plans and values: the locks are at most these.
"""

from pgdoctor.preflight.rule import LockRule

_READ = "read AS; read.indexes AS"
_CHANGED = "family RE; family.indexes RE"
_KEYS = "family.referenced RS; family.referenced.indexes RS"
_DELETED = f"{_CHANGED}; family.cascading RE; family.cascading.indexes RE; {_READ}"
_UPDATED = f"{_CHANGED}; {_KEYS}; family.cascading RE; family.cascading.indexes RE; {_READ}"
_INSERTED = f"{_CHANGED}; {_KEYS}; family.sequences RE; {_READ}"
_CODE = "It calls a function that may do anything."
_IN_BATCHES = "-- it, in batches of some thousand rows by the primary key, each in its own transaction"


def _rows(form: str, locks: str, *, when: str = "", work: str = "instant", safe: str = "") -> tuple[LockRule, ...]:
    return (
        LockRule(form, locks=locks, when="calls_unknown", work="unknown", is_at_most=True, note=_CODE),
        LockRule(form, locks=locks, when=when, work=work if when else "instant", safe=safe, is_at_most=True),
        *((LockRule(form, locks=locks, is_at_most=True),) if when else ()),
    )


STATEMENTS: tuple[LockRule, ...] = (
    *_rows("insert into {table:r} ...", _INSERTED),
    *_rows("update {table:r} ...", _UPDATED, when="has_no_where", work="rows", safe=_IN_BATCHES),
    *_rows(
        "delete from {table:r} ...",
        _DELETED,
        when="has_no_where",
        work="rows",
        safe=_IN_BATCHES,
    ),
    *_rows("merge into {table:r} ...", f"{_UPDATED}; {_INSERTED}"),
    *_rows("copy {table:r} [()] from ...", _INSERTED),
    *_rows("copy {table:r} [()] to ...", "family AS; family.indexes AS"),
    *_rows("copy () to ...", _READ),
    LockRule(
        "with ...",
        locks="read RE; read.indexes RE; read.cascading RE; read.cascading.indexes RE; read.referenced RS; "
        "read.referenced.indexes RS; read.sequences RE",
        when="calls_unknown",
        work="unknown",
        is_at_most=True,
        note=_CODE,
    ),
    LockRule(
        "with ...",
        locks="read RE; read.indexes RE; read.cascading RE; read.cascading.indexes RE; read.referenced RS; "
        "read.referenced.indexes RS; read.sequences RE",
        when="changes_rows",
        is_at_most=True,
    ),
    *_rows("with ...", "read RS; read.indexes RS", when="locks_rows"),
    LockRule(
        "select ... ",
        locks="read RS; read.indexes RS",
        when="calls_unknown",
        work="unknown",
        is_at_most=True,
        note=_CODE,
    ),
    LockRule("select ...", locks=_READ, when="selects_into", is_at_most=True),
    LockRule("select ...", locks="read RS; read.indexes RS; read_sequences RE", when="locks_rows", is_at_most=True),
    LockRule("select ...", locks=f"{_READ}; read_sequences RE", is_at_most=True),
    LockRule("table {table:r}", locks="family AS; family.indexes AS", is_at_most=True),
    *_rows("values ...", _READ),
)
