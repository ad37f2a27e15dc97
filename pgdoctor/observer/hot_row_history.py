"""Holders of contested rows in the last polls, which show whether a row changes hands or is kept.

The agent remembers some polls; a single diagnosis looks twice where the shape is that of a hot row.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

from msgspec.structs import replace

from pgdoctor.diagnosis.blocker.blocker_facts import LONG_QUEUE, BlockerFacts
from pgdoctor.diagnosis.blocker.lock_turns import may_change_hands
from pgdoctor.diagnosis.blocker.row_queue import RowQueue
from pgdoctor.model.diagnosis import Diagnosis
from pgdoctor.model.snapshot import Snapshot

#: How long a holder is remembered.
MEMORY = timedelta(seconds=10)

#: Blockers of one poll that are examined, the widest reach first.
_MOST_ROOTS = 100

#: A session and the beginning of its transaction: who updates a row in a loop holds it again each time.
Holder = tuple[int, datetime | None]


#: The database of a table, where that is not the connected one, and its OID.
Table = tuple[str | None, int]


class Sighting(NamedTuple):
    """The holders of one poll; the time is the server's."""

    seen_at: datetime
    #: Tables, each with those who held a row of it up.
    holders: Mapping[Table, frozenset[Holder]]


def take_sighting(diagnosis: Diagnosis) -> Sighting:
    """The root blockers in motion that others wait for by their transaction, by the table it is about."""
    found: dict[Table, frozenset[Holder]] = {}
    roots = [blocker.node for blocker in diagnosis.blockers if blocker.root and blocker.pid is not None]
    for node in roots[:_MOST_ROOTS]:
        facts = BlockerFacts(node, diagnosis.snapshot, diagnosis.graph)
        if (
            facts.session
            and (facts.is_in_motion or RowQueue(facts).changes_hands)
            and "transactionid" in facts.contested_types
            and facts.blocking_table is not None
        ):
            table = facts.other_database, facts.blocking_table.oid
            found[table] = found.get(table, frozenset()) | {(node, facts.session.xact_start)}
    return Sighting(diagnosis.captured_at, found)


def recent_sightings(sightings: tuple[Sighting, ...], now: datetime) -> tuple[Sighting, ...]:
    """Those that are not too old, and say something; a clock that was set back makes none of them young for ever."""
    return tuple(each for each in sightings if each.holders and abs(now - each.seen_at) <= MEMORY)


def with_memory(snapshot: Snapshot, sightings: tuple[Sighting, ...]) -> Snapshot:
    """The snapshot with those who held rows of its tables before, in transactions that are over."""
    found: dict[str | None, dict[int, frozenset[int]]] = {}
    for each in sightings:
        for (database, oid), holders in each.holders.items():
            over = {holder[0] for holder in holders if holder != _find_holder(snapshot, holder[0])}
            tables = found.setdefault(database, {})
            tables[oid] = tables.get(oid, frozenset()) | over
    if not found:
        return snapshot
    others = {
        oid: replace(each, former_holders=found[each.name]) if each.name in found else each
        for oid, each in snapshot.databases.items()
    }
    return replace(snapshot, former_holders=found.get(None, {}), databases=others)


def needs_second_snapshot(diagnosis: Diagnosis) -> bool:
    """Several sessions queue for a row whose holder is in motion: the next poll tells whether it changes.

    So does it for a lock that only one can hold, where its holder may just have got it. Not where an earlier poll knows
    a holder of that table, for then this one has shown it.
    """
    roots = [blocker.node for blocker in diagnosis.blockers if blocker.root and blocker.pid is not None]
    suspects = (BlockerFacts(node, diagnosis.snapshot, diagnosis.graph) for node in roots[:_MOST_ROOTS])
    return any(
        each.is_in_motion
        and each.row_queue >= LONG_QUEUE
        and each.blocking_table is not None
        and each.blocking_table.oid not in each.snapshot.former_holders
        and not RowQueue(each).has_moved
        for each in suspects
    ) or may_change_hands(diagnosis)


def _find_holder(snapshot: Snapshot, pid: int) -> Holder | None:
    session = snapshot.sessions.get(pid)
    return (pid, session.xact_start) if session is not None else None
