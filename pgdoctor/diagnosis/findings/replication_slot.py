"""A replication slot retains WAL, or has lost WAL that its consumer still needs.

Recognised by: the slot retains more than `max_wal_size` (`wal_status` extended). It is critical if the slot will be
lost soon (unreserved, or less than a tenth of `max_slot_wal_keep_size` left), or if it retains ten times `max_wal_size`
without a limit. A slot without a connected consumer appears from 64 MB on, as information. A lost slot retains nothing
any more: its consumer has to be rebuilt.
Do: repair and restart the consumer; if it will not return, use `pg_drop_replication_slot`. Check the free space of the
disk: a full WAL disk stops the server.
Do not: delete files in `pg_wal`. Do not drop the slot of a consumer that will return: it would have to be rebuilt.
Prevent: `max_slot_wal_keep_size`, and since 18 `idle_replication_slot_timeout`.
Source: PostgreSQL documentation, "pg_replication_slots".
"""

from collections.abc import Iterator

from pgdoctor.diagnosis.finding import CheckInput, FindingCheck
from pgdoctor.formatting import format_duration, format_name, format_size
from pgdoctor.model.diagnosis import Finding
from pgdoctor.model.server_context import ReplicationSlotState, ServerLimits
from pgdoctor.model.snapshot import Snapshot

#: Times max_wal_size, retained without a limit: probably more than the disk was sized for.
_TIMES_TOO_MUCH = 10
#: Bytes retained by a slot without a consumer; a consumer that reconnects leaves less.
_NOTABLE = 64 << 20
#: Share of max_slot_wal_keep_size that is left before the slot is lost.
_NEARLY_LOST = 0.1

_MOST_NOTES = 5


class ReplicationSlot(FindingCheck):
    name = "replication_slot"

    def find_findings(self, seen: CheckInput) -> Iterator[Finding]:
        around = seen.snapshot.surroundings
        if around is None or around.standing is None:
            return
        troubled = [(slot, severity) for slot in around.slots if (severity := _assess_severity(slot, around.standing))]
        for slot, severity in troubled[:_MOST_NOTES]:
            yield Finding(
                self.name,
                severity,
                _describe_slot(slot, seen.snapshot),
                _write_advice(slot, around.standing),
                {
                    "slots": len(troubled),
                    "retained_bytes": slot.retained or 0,
                    "max_wal_size": around.standing.max_wal_size,
                    **({} if slot.left is None else {"bytes_left": slot.left}),
                },
            )


def _assess_severity(slot: ReplicationSlotState, standing: ServerLimits) -> str | None:
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


def _describe_slot(slot: ReplicationSlotState, snapshot: Snapshot) -> str:
    kind = "logical" if slot.is_logical else "physical"
    where = f" of {format_name(slot.database)}" if slot.database else ""
    who = f"{'active' if slot.is_active else 'inactive'} {kind} replication slot {format_name(slot.name)}{where}"
    since = (
        f" (inactive for {format_duration(snapshot.seconds_since(slot.inactive_since))})" if slot.inactive_since else ""
    )
    if slot.wal_status == "lost":
        return f"{who}{since} is lost: the server has removed WAL that its consumer needs"
    left = (
        f"; it will be lost after another {format_size(slot.left)}" if slot.left is not None and slot.left > 0 else ""
    )
    if slot.wal_status == "unreserved":
        left = "; it will be lost at the next checkpoint"
    return f"{who}{since} retains {format_size(slot.retained or 0)} of WAL{left}"


def _write_advice(slot: ReplicationSlotState, standing: ServerLimits) -> str:
    if slot.wal_status == "lost":
        return f"drop {format_name(slot.name)}, and rebuild its consumer"
    first = (
        f"find out why the consumer of {format_name(slot.name)} does not keep up"
        if slot.is_active
        else f"restart the consumer of {format_name(slot.name)}, or drop the slot if the consumer will not return"
    )
    unlimited = standing.max_slot_wal_keep_size is None
    return first + ("; the slot has no limit: set max_slot_wal_keep_size" if unlimited else "")
