"""The shared lock table is nearly full: soon statements fail with "out of shared memory".

Recognised by: the locked objects are four fifths of the limit in the settings: `max_locks_per_transaction` ×
(`max_connections` + `max_prepared_transactions`). It is critical above the limit: the server then uses memory that it
has reserved for its own processes. Locks of the fast path and predicate locks do not count.
Do: look at the named sessions. One transaction that touches thousands of tables or partitions (pg_dump, a dropped
schema, an unpruned query), or takes an advisory lock for each row, should commit in parts.
Do not: raise `max_connections` for it, or wait for the error: it hits any session that needs a lock.
Prevent: raise `max_locks_per_transaction` (needs a restart); prune partitions; lock fewer objects a transaction.
Source: PostgreSQL documentation, "Lock Management" (max_locks_per_transaction); `InitLocks` in lock.c.
"""

from collections.abc import Iterator

from pgdoctor.diagnosis.finding import CheckInput, FindingCheck
from pgdoctor.formatting import format_client, format_count, format_duration, format_name, format_verb
from pgdoctor.model.diagnosis import Finding
from pgdoctor.model.server_context import LockTable, LockTableHolder
from pgdoctor.model.snapshot import Snapshot

#: Of the promised places, from which on it is nearly full.
_NEARLY_FULL = 0.8

#: Sessions that are named, and the share of the places from which on a session is named as the cause.
_MOST_NAMED = 5
_LARGE_SHARE = 0.1

_STATEMENT_WIDTH = 120


class LockTableFull(FindingCheck):
    name = "lock_table_full"

    def find_findings(self, seen: CheckInput) -> Iterator[Finding]:
        around = seen.snapshot.surroundings
        table = around.lock_table if around else None
        if table is None or table.objects < _NEARLY_FULL * table.capacity:
            return
        yield Finding(
            self.name,
            "critical" if table.objects >= table.capacity else "warning",
            describe_fill(table),
            _build_advice(table),
            {"objects": table.objects, "capacity": table.capacity, "share": table.objects / table.capacity},
            tuple(describe_lock_holder(each, seen.snapshot) for each in table.holders[:_MOST_NAMED]),
        )


def describe_fill(table: LockTable) -> str:
    """How full it is, and what it has room for."""
    return (
        f"{format_count(table.objects, 'object')} {'is' if table.objects == 1 else 'are'} locked, "
        f"{table.objects / table.capacity:.0%} of the {table.capacity:,} that the lock table has room for "
        f"(max_locks_per_transaction {table.max_locks_per_transaction:,} × (max_connections {table.max_connections:,} "
        f"+ max_prepared_transactions {table.max_prepared_transactions:,}))"
    )


def describe_lock_holder(holder: LockTableHolder, snapshot: Snapshot) -> str:
    """A session with many locks: whose, how many, what it does, since when."""
    where = f" in {format_name(holder.database)}" if holder.database else ""
    has = f"{format_verb(1, 'hold')} {format_count(holder.locks, 'lock')}"
    open_for = f", transaction open for {format_duration(snapshot.seconds_since(holder.since))}" if holder.since else ""
    if holder.pid is None:
        return f"prepared transaction {format_name(holder.gid)}{where} {has}{open_for}"
    is_client = holder.backend_type in (None, "client backend")
    origin = format_client(holder.application, holder.user) if is_client else holder.backend_type
    text = f": {holder.statement[:_STATEMENT_WIDTH]}" if holder.statement else ""
    return f"session {holder.pid}{where}, {origin}, {holder.state or 'in no state'}, {has}{open_for}{text}"


def _build_advice(table: LockTable) -> str:
    large = [each for each in table.holders if each.locks >= _LARGE_SHARE * table.capacity]
    if not large:
        return "many sessions share it: raise max_locks_per_transaction (needs a restart), or lock fewer objects each"
    names = ", ".join(
        str(each.pid) if each.pid is not None else f"prepared transaction {format_name(each.gid)}"
        for each in large[:_MOST_NAMED]
    )
    return (
        f"end the transaction of {names}, or let it commit in parts; then raise max_locks_per_transaction "
        "(needs a restart)"
    )
