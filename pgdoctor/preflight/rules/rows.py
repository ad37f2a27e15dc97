"""Queries, and statements that change rows.

Which partitions, indexes and referenced tables are locked depends on plans and values: the locks are at most these.
"""

from pgdoctor.preflight.rule import LockRule

_READ = "read AS; read.indexes AS"
# Of a view, the tables behind it are changed.
_CHANGED = "locked RE; locked.indexes RE"
_KEYS = "locked.referenced RS; locked.referenced.indexes RS"
_DELETED = f"{_CHANGED}; locked.cascading RE; locked.cascading.indexes RE; {_READ}"
_UPDATED = f"{_CHANGED}; {_KEYS}; locked.cascading RE; locked.cascading.indexes RE; {_READ}"
_INSERTED = f"{_CHANGED}; {_KEYS}; locked.sequences RE; {_READ}"
_WRITTEN = (
    "read RE; read.indexes RE; read.cascading RE; read.cascading.indexes RE; read.referenced RS; "
    "read.referenced.indexes RS; read.sequences RE"
)
_CODE = "It calls a function that may do anything."
_IN_BATCHES = "-- it, in batches of some thousand rows by the primary key, each in its own transaction"


def _rows(form: str, locks: str, *, rows: str, when: str = "", safe: str = "") -> tuple[LockRule, ...]:
    """The rows of a form: what calls unknown code, what changes every row, and the rest; `when` holds for all."""
    unknown, other = _read_rows(form, locks, when=when, rows=rows)
    whole = other._replace(when=f"{when} changes_every_row".strip(), work="rows", works_on="changed", safe=safe)
    return unknown, whole, other


def _read_rows(form: str, locks: str, *, when: str = "", rows: str = "") -> tuple[LockRule, LockRule]:
    row = LockRule(form, locks=locks, rows=rows, is_at_most=True)
    return row._replace(when=f"{when} calls_unknown".strip(), work="unknown", note=_CODE), row._replace(when=when)


STATEMENTS: tuple[LockRule, ...] = (
    *_rows("insert into {table:r} ...", f"{_INSERTED}; read RS; read.indexes RS", when="locks_rows", rows="waited"),
    *_read_rows("insert into {table:r} ...", _INSERTED, when="may_update", rows="locked"),
    *_read_rows("insert into {table:r} ...", _INSERTED),
    *_rows("update {table:r} ...", _UPDATED, rows="cascaded", safe=_IN_BATCHES),
    *_rows("delete from {table:r} ...", _DELETED, rows="cascaded", safe=_IN_BATCHES),
    *_rows("merge into {table:r} ...", f"{_UPDATED}; {_INSERTED}", rows="locked"),
    *_read_rows("copy {table:r} [()] from ...", _INSERTED),
    *_read_rows("copy {table:r} [()] to ...", "family AS; family.indexes AS"),
    *_rows("copy () to ...", _WRITTEN, when="changes_rows", rows="read"),
    *_rows("copy () to ...", "read RS; read.indexes RS", when="locks_rows", rows="waited"),
    *_read_rows("copy () to ...", _READ),
    *_rows("with ...", _WRITTEN, when="changes_rows", rows="read"),
    *_rows("with ...", "read RS; read.indexes RS", when="locks_rows", rows="waited"),
    *_read_rows("with ...", _READ),
    LockRule(
        "select pg_advisory_lock|pg_advisory_xact_lock|pg_advisory_lock_shared|pg_advisory_xact_lock_shared ()",
        when="knows_advisory_key",
        objects="advisory E",
        note="Others that ask for that key wait; of the form without xact until the session ends or unlocks it.",
    ),
    *_read_rows("select ...", _READ, when="selects_into"),
    *_rows("select ...", "read RS; read.indexes RS; read_sequences RE", when="locks_rows", rows="waited"),
    *_read_rows("select ...", f"{_READ}; read_sequences RE"),
    LockRule("table {table:r}", locks="family AS; family.indexes AS", is_at_most=True),
    *_read_rows("values ...", _READ),
)
