"""Which table a running statement reads to find its rows, as its text and its locks tell together."""

from collections.abc import Iterator, Sequence

from pgdoctor.diagnosis import proposal
from pgdoctor.diagnosis.indexing import Table
from pgdoctor.diagnosis.predicate import Filter
from pgdoctor.diagnosis.snapshot import Relation
from pgdoctor.diagnosis.suspect import Suspect

#: Rows from which on reading the whole table matters.
BIG_TABLE_ROWS = 10_000

#: The lock of whoever changes rows.
CHANGE_LOCK = "RowExclusiveLock"


def scanned(suspect: Suspect) -> Iterator[tuple[Table, tuple[Filter, ...]]]:
    """The tables that its conditions are about, with those conditions; none of which nothing can be concluded.

    With a join an index on a joined column may serve, whatever the conditions say.
    """
    for asked in suspect.searches:
        if not asked.filters_known or asked.tied is None or not asked.filters:
            continue
        relation = named(asked.scanned, locked(suspect))
        if relation is None or relation.indexes is None:
            continue
        table = Table(relation, suspect.snapshot)
        if not table.may_find_by(asked.tied):
            yield table, asked.filters


def open_ranges(suspect: Suspect) -> Iterator[str]:
    """Says which index a big table lacks for a range of which nobody knows how much it finds."""
    for table, filters in scanned(suspect):
        if table.unserved_rows(filters, parts_locked(suspect)) < BIG_TABLE_ROWS:
            continue
        name, doubt = table.relation.name, "an index helps only if the range is selective, which is unknown"
        yield from (f"no index on {name} ({key}): {doubt}" for key in proposal.open_ranges(table, filters))


def locked(suspect: Suspect, mode: str = "") -> list[Relation]:
    """The tables that its session has locked, in a mode or in any."""
    snapshot = suspect.snapshot
    found = {
        table.oid: table
        for lock in suspect.held
        if lock.locktype == "relation"
        and mode in ("", lock.mode)
        and (table := snapshot.table_of(lock)) is not None
        and not table.is_system
    }
    return list(found.values())


def parts_locked(suspect: Suspect) -> set[int]:
    """What it has locked to change rows: of a partitioned table the partitions that it cannot leave out."""
    return {
        lock.relation
        for lock in suspect.held
        if lock.locktype == "relation" and lock.mode in ("RowShareLock", CHANGE_LOCK) and lock.relation is not None
    }


def named(name: str, tables: Sequence[Relation]) -> Relation | None:
    """The one of the tables that a statement calls so; None if that is not just one."""
    found = [table for table in tables if _bare(table.name) == name.rpartition(".")[2]]
    if len(found) > 1 and "." in name:
        found = [table for table in found if table.name.replace('"', "") == name]
    return found[0] if len(found) == 1 else None


def _bare(name: str) -> str:
    return name.rpartition(".")[2].strip('"')
