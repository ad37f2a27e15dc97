"""How often all sessions together have lately read the tables of an incident as a whole: corroboration, never proof.

The counters of `pg_stat_user_tables` stand still while a scan runs and until its transaction ends, then they jump
(measured on 14 and 18: 0 during a scan of 400,000 rows and for as long as its transaction was open, 1 and 400,000 after
its commit; only a parallel worker reports its own part at its end). So what they gain between two polls tells of other
sessions' transactions, or of earlier ones: a table that is scanned again and again lacks an index. What they do not
gain tells nothing, so nothing is ever withdrawn for it. Nothing else shows that a foreign session is scanning:
`pg_stat_get_xact_*` know their own session only, and plain statements have no progress view; IO/DataFileRead is left,
which says that it reads from disk, not how.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

from msgspec.structs import replace

from pgdoctor.model.snapshot import Relation, ScanCounts, Snapshot

#: How old the earlier poll may be.
MEMORY = timedelta(seconds=10)


#: The database of a table, where that is not the connected one, and its OID.
Table = tuple[int | None, int]


class ScanCounters(NamedTuple):
    """The counters of one poll by table; the time is the server's."""

    seen_at: datetime
    scans: Mapping[Table, ScanCounts]


def read_scan_counters(snapshot: Snapshot) -> ScanCounters:
    """What the snapshot's tables have counted since the server's statistics began."""
    read: dict[int | None, Mapping[int, Relation]] = {None: snapshot.relations}
    read |= {oid: each.relations for oid, each in snapshot.databases.items()}
    return ScanCounters(
        snapshot.captured_at,
        {
            (database, oid): table.scans
            for database, tables in read.items()
            for oid, table in tables.items()
            if table.scans is not None
        },
    )


def with_scans(snapshot: Snapshot, earlier: ScanCounters | None) -> Snapshot:
    """The snapshot with what its tables have gained since an earlier poll, where they have gained anything."""
    if earlier is None or not timedelta() < snapshot.captured_at - earlier.seen_at <= MEMORY:
        return snapshot
    found = _compute_gains(snapshot, earlier, (snapshot.captured_at - earlier.seen_at) / timedelta(seconds=1))
    if not found:
        return snapshot
    others = {
        oid: replace(each, earlier_scans=found[oid]) if oid in found else each
        for oid, each in snapshot.databases.items()
    }
    return replace(snapshot, earlier_scans=found.get(None, {}), databases=others)


def _compute_gains(
    snapshot: Snapshot, earlier: ScanCounters, seconds: float
) -> dict[int | None, dict[int, ScanCounts]]:
    """By database and table, where there are any."""
    found: dict[int | None, dict[int, ScanCounts]] = {}
    for (database, oid), now in read_scan_counters(snapshot).scans.items():
        before = earlier.scans.get((database, oid))
        # Below zero: the statistics were reset.
        if before is not None and now.count > before.count and now.rows > before.rows:
            gained = ScanCounts(now.count - before.count, now.rows - before.rows, seconds)
            found.setdefault(database, {})[oid] = gained
    return found
