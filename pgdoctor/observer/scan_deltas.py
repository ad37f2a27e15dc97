"""How often all sessions together have lately read the tables of an incident as a whole: corroboration, never proof.

The counters of `pg_stat_user_tables` stand still while a scan runs and until its transaction ends, then they jump
(measured on 14 and 18: 0 during a scan of 400,000 rows and for as long as its transaction was open, 1 and 400,000
after its commit; only a parallel worker reports its own part at its end). So what they gain between two looks tells
of other sessions' transactions, or of earlier ones: a table that is scanned again and again lacks an index. What they
do not gain tells nothing, so nothing is ever withdrawn for it.
Nothing else shows that a foreign session is scanning: `pg_stat_get_xact_*` know their own session only, and plain
statements have no progress view; IO/DataFileRead is left, which says that it reads from disk, not how.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

from msgspec.structs import replace

from pgdoctor.model.snapshot import ScanCounts, Snapshot

#: How old the earlier look may be.
MEMORY = timedelta(seconds=10)


class ScanCounters(NamedTuple):
    """The counters of one look by table; the time is the server's."""

    seen_at: datetime
    scans: Mapping[int, ScanCounts]


def read_scan_counters(snapshot: Snapshot) -> ScanCounters:
    """What the snapshot's tables have counted since the server's statistics began."""
    return ScanCounters(
        snapshot.captured_at,
        {oid: table.scans for oid, table in snapshot.relations.items() if table.scans is not None},
    )


def with_scans(snapshot: Snapshot, earlier: ScanCounters | None) -> Snapshot:
    """The snapshot with what its tables have gained since an earlier look, where they have gained anything."""
    if earlier is None or not timedelta() < snapshot.captured_at - earlier.seen_at <= MEMORY:
        return snapshot
    seconds = (snapshot.captured_at - earlier.seen_at) / timedelta(seconds=1)
    gained = {
        oid: ScanCounts(now.count - before.count, now.rows - before.rows, seconds)
        for oid, now in read_scan_counters(snapshot).scans.items()
        if (before := earlier.scans.get(oid)) is not None
    }
    # Below zero: the statistics were reset.
    found = {oid: each for oid, each in gained.items() if each.count > 0 and each.rows > 0}
    return replace(snapshot, earlier_scans=found) if found else snapshot
