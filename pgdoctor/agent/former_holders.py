"""Who held contested rows up in the last polls: by this a row that changes hands is told from one that is kept."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

from pgdoctor.diagnosis.diagnosis import Diagnosis
from pgdoctor.diagnosis.suspect import Suspect

#: How long a holder is remembered.
MEMORY = timedelta(seconds=10)

#: Blockers of one poll that are looked at, the widest reach first.
_MOST_ROOTS = 100

#: Table OIDs, each with the sessions that held a row of it up.
Holders = Mapping[int, frozenset[int]]


class Sighting(NamedTuple):
    """The holders of one poll; the time is the server's."""

    seen_at: datetime
    holders: Holders


def sighting(diagnosis: Diagnosis) -> Sighting:
    """The running root blockers that others wait for by their transaction, by the table it is about."""
    found: dict[int, frozenset[int]] = {}
    roots = [blocker.node for blocker in diagnosis.blockers if blocker.root and blocker.pid is not None]
    for node in roots[:_MOST_ROOTS]:
        suspect = Suspect(node, diagnosis.snapshot, diagnosis.graph)
        if suspect.is_running and "transactionid" in suspect.contested_types and suspect.table is not None:
            oid = suspect.table.oid
            found[oid] = found.get(oid, frozenset()) | {node}
    return Sighting(diagnosis.captured_at, found)


def remembered(sightings: tuple[Sighting, ...], now: datetime) -> tuple[Sighting, ...]:
    """Those that are not too old, and say something; a clock that was set back makes none of them young for ever."""
    return tuple(each for each in sightings if each.holders and abs(now - each.seen_at) <= MEMORY)


def former_holders(sightings: tuple[Sighting, ...]) -> Holders:
    """All holders of all sightings, by table."""
    found: dict[int, frozenset[int]] = {}
    for each in sightings:
        for oid, pids in each.holders.items():
            found[oid] = found.get(oid, frozenset()) | pids
    return found
