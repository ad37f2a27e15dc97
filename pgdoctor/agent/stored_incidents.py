"""Incidents of a journal with all that is stored of them; and what was exported elsewhere, taken into a journal.

An imported incident is kept apart from those that agents record: under a server's name of its own, and what mitigation
did during it as records of a kind that no guard, budget or brake reads.
"""

from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta

import msgspec

from pgdoctor.incidents.export_file import DatedSnapshot, StoredDeed, StoredIncident
from pgdoctor.incidents.incident_log import KIND, IncidentRecord
from pgdoctor.incidents.snapshot_archive import pack_stored, unpack_snapshot
from pgdoctor.journal.store import Journal, JournalRecord
from pgdoctor.mitigation.rehearsal import KIND as REHEARSAL

#: Before the identifier of the server of an imported incident, and the kind of the records of what was done.
IMPORTED = "imported:"
IMPORTED_DEED = "imported"

#: What mitigation and operators record of their actions.
DEEDS = ("intent", "outcome", "opening", "trace", "person_intent", "person_outcome", REHEARSAL)

#: How long before an incident, and after its end, something that was done belongs to it.
BEFORE, AFTER = timedelta(minutes=1), timedelta(minutes=2)


class _Kind(msgspec.Struct, frozen=True):
    kind: str


_decode_kind = msgspec.json.Decoder(_Kind).decode


def read_incident(journal: Journal, server: str, entries: Sequence[IncidentRecord]) -> StoredIncident:
    """All that a journal has of an incident with these entries. Raises JournalError where a snapshot is damaged."""
    first, last = entries[0], entries[-1]
    snapshots = [DatedSnapshot(kept.at, unpack_snapshot(kept.body)) for kept in journal.fetch_kept(first.id, server)]
    snapshots.sort(key=lambda each: each.at)
    done = journal.fetch_records(server, kinds=(*DEEDS, IMPORTED_DEED), since=first.started - BEFORE)
    mine = (each for each in done if each.kind != IMPORTED_DEED or each.subject == first.id)
    deeds = [read_deed(each) for each in mine if not last.is_over or each.at <= last.at + AFTER]
    return StoredIncident(server, tuple(entries), tuple(deeds), tuple(snapshots))


def read_deed(record: JournalRecord) -> StoredDeed:
    """What was done, under the kind that it had where it was recorded."""
    kind = record.kind
    if kind == IMPORTED_DEED:
        with suppress(msgspec.MsgspecError, UnicodeDecodeError):
            kind = _decode_kind(record.body).kind
    return StoredDeed(record.at, kind, record.body, record.id)


def find_copy(journal: Journal, stored: StoredIncident) -> str | None:
    """The server under which a journal has an incident already, as recorded by an agent or imported; None: none."""
    own = stored.server.removeprefix(IMPORTED)
    known = {each.server for each in journal.fetch_records(kinds=(KIND,), subject=stored.id)}
    return next((each for each in (own, IMPORTED + own) if each in known), None)


def import_incident(journal: Journal, stored: StoredIncident) -> bool:
    """Take in an incident, in place of an earlier import of it; False where the journal has no room."""
    records = [(KIND, msgspec.json.encode(each), each.at) for each in stored.entries]
    records += [(IMPORTED_DEED, each.body, each.at) for each in stored.deeds]
    snapshots = [(pack_stored(each.stored), each.at) for each in stored.snapshots]
    return journal.replace_incident(IMPORTED + stored.server.removeprefix(IMPORTED), stored.id, records, snapshots)
