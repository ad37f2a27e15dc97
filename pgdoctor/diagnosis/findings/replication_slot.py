"""A replication slot keeps WAL that would otherwise be gone, or has lost what its consumer still needs.

Recognised by: it keeps more than `max_wal_size` (`wal_status` extended); critical where it is about to be lost
(unreserved, or less than a tenth of `max_slot_wal_keep_size` left), or keeps ten times `max_wal_size` without a limit.
Of one whose consumer is not connected 64 MB are mentioned. A lost one keeps nothing any more: its consumer has to be
built anew.
Do: get its consumer going again; if it will not come back, `pg_drop_replication_slot`. Look how much room the disk
has: a full WAL disk stops the server.
Do not: delete files in `pg_wal`. Do not drop the slot of a consumer that will come back: it would have to be built
anew.
Prevent: `max_slot_wal_keep_size`, and since 18 `idle_replication_slot_timeout`.
Source: PostgreSQL documentation, "pg_replication_slots".
"""

from collections.abc import Iterator

from pgdoctor.diagnosis.diagnosis import Note
from pgdoctor.diagnosis.finding import Finding, Seen
from pgdoctor.diagnosis.snapshot import Snapshot
from pgdoctor.diagnosis.surroundings import Slot, Standing
from pgdoctor.diagnosis.words import duration, name, size

#: Of max_wal_size, kept without any limit: what the disk was laid out for is likely exceeded.
_TIMES_TOO_MUCH = 10
#: Bytes that a slot without a consumer keeps, from which on it is more than a consumer that connects anew.
_NOTABLE = 64 << 20
#: Of max_slot_wal_keep_size, what is left before it is lost.
_NEARLY_LOST = 0.1

_MOST_NOTES = 5


class ReplicationSlot(Finding):
    name = "replication_slot"

    def notes(self, seen: Seen) -> Iterator[Note]:
        around = seen.snapshot.surroundings
        if around is None or around.standing is None:
            return
        troubled = [(slot, severity) for slot in around.slots if (severity := _severity(slot, around.standing))]
        for slot, severity in troubled[:_MOST_NOTES]:
            yield Note(
                self.name,
                severity,
                _said(slot, seen.snapshot),
                _advice(slot, around.standing),
                {
                    "slots": len(troubled),
                    "retained_bytes": slot.retained or 0,
                    "max_wal_size": around.standing.max_wal_size,
                    **({} if slot.left is None else {"bytes_left": slot.left}),
                },
            )


def _severity(slot: Slot, standing: Standing) -> str | None:
    if slot.wal_status == "lost":
        return "warning"
    if slot.wal_status == "unreserved":
        return "critical"
    retained, limit = slot.retained or 0, standing.max_slot_wal_keep_size
    if slot.wal_status != "extended" and retained <= standing.max_wal_size:
        return "info" if not slot.is_active and retained >= _NOTABLE else None
    if limit is None:
        return "critical" if retained >= _TIMES_TOO_MUCH * standing.max_wal_size else "warning"
    return "critical" if slot.left is not None and slot.left < _NEARLY_LOST * limit else "warning"


def _said(slot: Slot, snapshot: Snapshot) -> str:
    kind = "logical" if slot.is_logical else "physical"
    where = f" of {name(slot.database)}" if slot.database else ""
    who = f"{'active' if slot.is_active else 'inactive'} {kind} replication slot {name(slot.name)}{where}"
    since = f" (inactive for {duration(snapshot.seconds_since(slot.inactive_since))})" if slot.inactive_since else ""
    if slot.wal_status == "lost":
        return f"{who}{since} is lost: the WAL that its consumer needs is gone"
    left = f"; it is lost after another {size(slot.left)}" if slot.left is not None and slot.left > 0 else ""
    if slot.wal_status == "unreserved":
        left = "; it is lost at the next checkpoint"
    return f"{who}{since} keeps {size(slot.retained or 0)} of WAL{left}"


def _advice(slot: Slot, standing: Standing) -> str:
    if slot.wal_status == "lost":
        return f"drop {name(slot.name)}, and build its consumer anew"
    first = (
        f"find out why the consumer of {name(slot.name)} does not keep up"
        if slot.is_active
        else f"get the consumer of {name(slot.name)} going, or drop the slot if it will not come back"
    )
    unlimited = standing.max_slot_wal_keep_size is None
    return first + ("; nothing limits what it keeps: set max_slot_wal_keep_size" if unlimited else "")
