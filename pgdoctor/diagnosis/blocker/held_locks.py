"""What a blocker holds, and since when, as far as that is known: its evidence in sentences."""

from collections.abc import Iterable, Iterator

from pgdoctor.diagnosis.blocker.blocker_facts import BlockerFacts
from pgdoctor.diagnosis.blocker.known_hold import KnownHold
from pgdoctor.diagnosis.blocker.lock_names import builds_snapshot, waits_for_key
from pgdoctor.formatting import format_duration
from pgdoctor.model.snapshot import Lock

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
    if "transactionid" in facts.contested_types and facts.blocking_table is not None:
        table, waiters = facts.blocking_table, facts.sampled_waiters
        are_keys = bool(waiters) and all(waits_for_key(facts.snapshot, waiter, table) for waiter in waiters)
        name = table.name
        yield f"keys of {name} that others insert, too" if are_keys else f"rows of {name}"
    if "transactionid" in facts.contested_types and any(map(builds_snapshot, facts.sampled_waiters)):
        yield "a transaction whose end a new replication slot waits for"
    if "virtualxid" in facts.contested_types:
        yield f"a transaction whose end a CONCURRENTLY command waits for{_describe_phase(facts)}"


def _describe_phase(facts: BlockerFacts) -> str:
    """What the command that waits for its end is at: `(CREATE INDEX CONCURRENTLY: waiting for old snapshots)`."""
    known = facts.snapshot.progress
    waiting = [each for each in facts.sampled_waiters if any(lock.locktype == "virtualxid" for lock in each.requests)]
    found = next((known[waiter.pid] for waiter in waiting if waiter.pid in known), None)
    return f" ({found.command}: {found.phase})" if found is not None else ""
