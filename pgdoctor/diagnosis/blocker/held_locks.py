"""What a blocker holds, and since when, as far as that is known: its evidence in sentences."""

from collections.abc import Iterable, Iterator

from pgdoctor.diagnosis.blocker.blocker_facts import BlockerFacts
from pgdoctor.diagnosis.blocker.known_hold import KnownHold
from pgdoctor.diagnosis.blocker.lock_names import builds_snapshot, describe_rows, waits_for_key
from pgdoctor.formatting import format_duration
from pgdoctor.model.snapshot import Lock, Session
from pgdoctor.sqltext import ddl

#: Locks that are named; the rest is counted.
_MOST_NAMED = 3


def describe_contested_locks(facts: BlockerFacts, locks: Iterable[Lock] = ()) -> Iterator[str]:
    """What blocks another session: rows, then locks on tables and other objects; then the given locks."""
    contested = (lock for lock in facts.blocking_locks if lock.locktype in ("relation", "object"))
    names = list(dict.fromkeys((*_describe_transaction(facts), *map(facts.name_lock, (*contested, *locks)))))
    more = [f"{len(names) - _MOST_NAMED} more"] if len(names) > _MOST_NAMED else []
    if names:
        yield f"holds {', '.join(names[:_MOST_NAMED] + more)}, for {describe_hold_time(facts)}"


def describe_hold_time(facts: BlockerFacts) -> str:
    """For how long: at least as long as it is known to hold it, at most as long as its transaction is open.

    A waiter may have waited for an earlier holder, so a wait alone says nothing.
    """
    least = KnownHold(facts.node, facts.snapshot).measure_seconds(facts.sampled_waiters) or None
    most = facts.transaction_seconds
    if least is not None and most is not None and format_duration(least) == format_duration(most):
        return format_duration(most)
    bounds = [f"{format_duration(least)} at least"] if least is not None else []
    bounds += [f"{format_duration(most)} at most"] if most is not None or not bounds else []
    return ", ".join(bounds)


def _describe_transaction(facts: BlockerFacts) -> Iterator[str]:
    """What is waited for by waiting for its transaction."""
    if "transactionid" in facts.contested_types and (table := facts.contested_row_table) is not None:
        waiters = [each for each in facts.sampled_waiters if _waits_for_rows(each)]
        are_keys = bool(waiters) and all(waits_for_key(facts.snapshot, waiter, table) for waiter in waiters)
        yield f"keys of {table.name} that others insert, too" if are_keys else describe_rows(table)
    if "transactionid" in facts.contested_types and any(map(builds_snapshot, facts.sampled_waiters)):
        yield "a transaction whose end a new replication slot waits for"
    if "virtualxid" in facts.contested_types:
        yield f"a transaction whose end {_name_waiting_command(facts)} waits for"


def _waits_for_rows(waiter: Session) -> bool:
    return any(lock.locktype in ("transactionid", "tuple") for lock in waiter.requests)


def _name_waiting_command(facts: BlockerFacts) -> str:
    """The command that waits for its end, and what it is at: `CREATE INDEX CONCURRENTLY (waiting for old snapshots)`.

    Where no progress is reported, the text of its session names it.
    """
    known = facts.snapshot.progress
    waiting = [each for each in facts.sampled_waiters if any(lock.locktype == "virtualxid" for lock in each.requests)]
    if found := next((known[waiter.pid] for waiter in waiting if waiter.pid in known), None):
        return f"{found.command} ({found.phase})"
    texts = (ddl.name_concurrent_command(each.statement or "", each.truncated) for each in waiting)
    return next(filter(None, texts), "a CONCURRENTLY command")
