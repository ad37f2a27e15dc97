"""In how many of the last polls a blocker's transaction was idle: the state of one moment says little.

A client that runs a short statement twice a second is idle in one poll and active in the next, while its transaction
stays open and keeps what it holds. Polls in which it waits for a lock do not count: it does not choose to.
"""

from collections.abc import Mapping

import msgspec
from msgspec.structs import replace

from pgdoctor.diagnosis.blocker.blocker_facts import YOUNG, BlockerFacts
from pgdoctor.model.identity import Transaction, transaction_of
from pgdoctor.model.snapshot import IdleShare, Snapshot

#: Polls that count, the last ones; and those from which on they tell anything.
_MOST_POLLS = 20
_FEWEST_POLLS = 5

#: It is mostly idle from one idle poll in two on, and until less than one in three is: in between nothing changes.
_ENOUGH = 1 / 2
_TOO_FEW = 1 / 3


class Polls(msgspec.Struct, frozen=True):
    """The last polls of one transaction: True, it was idle."""

    idle: tuple[bool, ...] = ()
    is_mostly_idle: bool = False


PollsByTransaction = Mapping[Transaction, Polls]


def count_polls(before: PollsByTransaction, snapshot: Snapshot) -> PollsByTransaction:
    """The polls of each transaction in the snapshot, by those before it."""
    found: dict[Transaction, Polls] = {}
    for session in snapshot.sessions.values():
        if (transaction := transaction_of(session)) is None:
            continue
        is_waiting = bool(session.blockers or session.requests)
        if not is_waiting:
            found[transaction] = _add_poll(before.get(transaction, Polls()), is_idle=session.in_transaction_idle)
        elif transaction in before:
            found[transaction] = before[transaction]
    return found


def with_idle_shares(snapshot: Snapshot, polls: PollsByTransaction) -> Snapshot:
    """The snapshot with what is known of its blockers' transactions."""
    found = {
        pid: IdleShare(sum(known.idle), len(known.idle), known.is_mostly_idle)
        for pid, session in snapshot.sessions.items()
        if (transaction := transaction_of(session)) is not None and (known := polls.get(transaction)) is not None
    }
    return replace(snapshot, idle_shares=found) if found else snapshot


def is_between_pauses(facts: BlockerFacts) -> bool:
    """It runs a short statement at this moment, and its transaction was idle in most of the last polls."""
    share = facts.snapshot.idle_shares.get(facts.node)
    if share is None or not share.is_mostly_idle or not facts.is_running or facts.is_waiting:
        return False
    text, seconds = facts.statement, facts.statement_seconds
    if seconds is None or seconds >= YOUNG or text.kind == "unknown" or text.ends_transaction:
        return False
    return not (text.has_ddl or text.is_maintenance or text.is_lock_table)


def _add_poll(known: Polls, *, is_idle: bool) -> Polls:
    idle = (*known.idle, is_idle)[-_MOST_POLLS:]
    share = sum(idle) / len(idle)
    least = _TOO_FEW if known.is_mostly_idle else _ENOUGH
    return Polls(idle, len(idle) >= _FEWEST_POLLS and share >= least)
