"""Which table a running statement reads to find its rows, as its text and its locks show together."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from pgdoctor.diagnosis.blocker.blocker_facts import BlockerFacts
from pgdoctor.diagnosis.index_advice import missing_index
from pgdoctor.diagnosis.index_advice.index_match import LARGE_SHARE, IndexedTable
from pgdoctor.model.query_plan import PlannedScan
from pgdoctor.model.snapshot import Relation, SimpleView
from pgdoctor.sqltext.conditions import Alternative, Filter, Search, Tie
from pgdoctor.sqltext.statement import Conditions, rename_columns

#: Rows from which on reading the whole table matters.
BIG_TABLE_ROWS = 10_000

#: The lock of a statement that changes rows.
CHANGE_LOCK = "RowExclusiveLock"


def find_scanned_tables(
    facts: BlockerFacts, *, trusts_hidden: bool = False
) -> Iterator[tuple[IndexedTable, Conditions]]:
    """The tables that its conditions are about, with those conditions; none of which nothing can be concluded.

    With a join an index on a joined column may serve, whatever the conditions say.
    """
    for each in facts.table_conditions:
        asked = each.visible or each
        if not asked.filters_known or asked.tied is None or not asked.filters:
            continue
        relation = find_named_table(asked.scanned, find_locked_tables(facts))
        if relation is not None and relation.view is not None:
            relation, asked = _behind_view(relation.view, asked, facts)
        if relation is None or relation.indexes is None:
            continue
        table = IndexedTable(relation, facts.snapshot, facts.node, trusts_hidden=trusts_hidden)
        if asked.is_limited and not table.has_to_sort(asked.sorted_by):
            continue
        if not table.may_find_by(asked.tied or ()) and not (asked.is_cut and _may_go_on_by_index(table, asked)):
            yield table, replace(asked, filters=table.settle_casts(asked.filters))


def _behind_view(view: SimpleView, asked: Conditions, facts: BlockerFacts) -> tuple[Relation | None, Conditions]:
    """The table of a view, and what is asked of it; no table where an index may serve the view's own conditions."""
    table = facts.snapshot.relations.get(view.table)
    renamed = rename_columns(asked, view.columns)
    if table is None or renamed is None:
        return None, asked
    is_served = not IndexedTable(table, facts.snapshot).indexed_columns().isdisjoint({*view.restricted_by, "*"})
    return None if is_served else table, renamed


def _may_go_on_by_index(table: IndexedTable, asked: Conditions) -> bool:
    """The condition at the cut may be one that an index serves."""
    begins = asked.name_at_cut
    return any(
        name in asked.at_cut or (begins and name.startswith(begins)) or name == "*" for name in table.indexed_columns()
    )


class JoinedTable(NamedTuple):
    """A big table whose rows are looked for, without an index, by the few rows of another one."""

    table: IndexedTable
    column: str
    #: The other table in words, with how many rows of it are asked for.
    other: str
    #: Rows that it finds, as far as statistics show.
    found: float
    filters: tuple[Filter, ...]


#: What the planner takes a row to cost that is found by an index: a page of the index and one of the table
#: (random_page_cost), and the share of the cost of reading all of the table up to which a join by an index is cheap.
_LOOKUP = 2 * 4.0
_CHEAP = 1 / 3


def find_joined_tables(facts: BlockerFacts) -> Iterator[JoinedTable]:
    """The tables that it joins to another one by one equality, where an index would be cheap."""
    for table, asked, tie in find_ties(facts):
        joining = _joining_rows(facts, table, asked, tie)
        if joining is None:
            continue
        name, rows = joining
        found = _found_by_join(table, tie, rows)
        reads_all = table.relation.pages + table.rows * 0.01
        if found is not None and (rows + found) * _LOOKUP <= reads_all * _CHEAP:
            yield JoinedTable(table, tie.column, f"{name} (about {rows:,.0f} rows)", found, asked.filters)


def _joining_rows(facts: BlockerFacts, table: IndexedTable, asked: Conditions, tie: Tie) -> tuple[str, float] | None:
    """The table that selects the rows, and its number of rows; None if it is not known."""
    if asked.other_rows:
        return "a list of values", float(asked.other_rows)
    other = find_read_table(facts, asked.other)
    if other is None or other.oid == table.relation.oid or other.live_rows < 0:
        return None
    column, other_column = table.columns.get(tie.column), (other.columns or {}).get(tie.other_column)
    if column is None or other_column is None or column.type != other_column.type:
        return None
    return other.name, other.live_rows * IndexedTable(other, facts.snapshot).least_share(tie.filters)


def find_ties(facts: BlockerFacts) -> Iterator[tuple[IndexedTable, Conditions, Tie]]:
    """The big tables that are joined to another by a column without an index, and have no other condition with one."""
    for asked in facts.table_conditions:
        relation = find_named_table(asked.scanned, find_locked_tables(facts)) if asked.tie else None
        if relation is None or asked.tie is None or not asked.filters_known or asked.is_limited:
            continue
        if relation.kind != "r" or relation.indexes is None or relation.parts:
            continue
        table = IndexedTable(relation, facts.snapshot, facts.node)
        if table.may_find_by((asked.tie.column,)) or table.rows < BIG_TABLE_ROWS:
            continue
        filters = table.settle_casts(asked.filters)
        if not filters or table.unserved_rows(filters) >= BIG_TABLE_ROWS:
            yield table, replace(asked, filters=filters), asked.tie


def _found_by_join(table: IndexedTable, tie: Tie, rows: float) -> float | None:
    """How many rows have one of so many values, at most; None where that is not known."""
    column = table.columns.get(tie.column)
    if column is None or column.is_hidden:
        return None
    share = table.estimate_share(Search(tie.column))
    # The most frequent value may be among them.
    largest = max(column.top_share or 0.0, share or 0.0)
    return None if share is None else rows * largest * table.rows


def find_read_table(facts: BlockerFacts, name: str) -> Relation | None:
    """The table that its statement calls so, of those that it has locked and that were looked up."""
    relations = facts.snapshot.relations
    read = [relations[oid] for oid in facts.snapshot.read_tables.get(facts.node, ()) if oid in relations]
    return find_named_table(name, read)


def find_planned_scans(
    facts: BlockerFacts, scans: Sequence[PlannedScan]
) -> Iterator[tuple[IndexedTable, PlannedScan, str]]:
    """The scans of a plan in whose place an index would be cheap, each with the table and the key that it lacks."""
    for scan in scans:
        relation = facts.snapshot.relations.get(scan.table)
        if relation is None or relation.indexes is None or relation.view is not None or relation.kind != "r":
            continue
        table = IndexedTable(relation, facts.snapshot, facts.node)
        # A parameter fits no partial index, whatever its value.
        if table.rows < BIG_TABLE_ROWS or any(index.is_partial for index in relation.indexes):
            continue
        key = _key_for_values(table, scan) or _key_for_join(table, scan)
        if key:
            yield table, scan, key


def _key_for_values(table: IndexedTable, scan: PlannedScan) -> str:
    if scan.rows > LARGE_SHARE * table.rows or table.may_find_by(scan.columns):
        return ""
    filters = [Filter((Alternative((Search(column),)),)) for column in scan.columns if column in table.columns]
    return next(iter(missing_index.missing_keys(table, filters)), "")


def _key_for_join(table: IndexedTable, scan: PlannedScan) -> str:
    if scan.joined_by not in table.columns or table.may_find_by((scan.joined_by,)):
        return ""
    reads_all = table.relation.pages + table.rows * 0.01
    is_cheap = (scan.other_rows + scan.joined_rows) * _LOOKUP <= reads_all * _CHEAP
    return table.format_column(scan.joined_by) if is_cheap and table.is_selective(Search(scan.joined_by)) else ""


def describe_open_ranges(facts: BlockerFacts) -> Iterator[str]:
    """Says which index a big table lacks for a range of unknown selectivity."""
    for table, asked in find_scanned_tables(facts):
        if table.unserved_rows(asked.filters, parts_locked(facts)) < BIG_TABLE_ROWS:
            continue
        name, doubt = table.relation.name, "an index helps only if the range is selective, which is unknown"
        yield from (
            f"no index on {name} ({key}): {doubt}" for key in missing_index.find_open_ranges(table, asked.filters)
        )


def unreadable_statistics(facts: BlockerFacts) -> Iterator[str]:
    """Says which index a big table lacks, for conditions of which our role may not read how much they find."""
    for table, asked in find_scanned_tables(facts, trusts_hidden=True):
        if table.unserved_rows(asked.filters, parts_locked(facts)) < BIG_TABLE_ROWS:
            continue
        name = table.relation.name
        lacks = ", ".join(f"{name} ({key})" for key in missing_index.missing_keys(table, asked.filters))
        if lacks and any(column.is_hidden for column in table.columns.values()):
            yield (
                f"no index on {lacks}: whether one would help is unknown, for our role may not read the statistics of "
                f"{name} (`pgdoctor setup --stats` prints what permits that)"
            )


def find_locked_tables(facts: BlockerFacts, mode: str = "") -> list[Relation]:
    """The tables that its session has locked, in a mode or in any."""
    snapshot = facts.snapshot
    found = {
        table.oid: table
        for lock in facts.held_locks
        if lock.locktype == "relation"
        and mode in ("", lock.mode)
        and (table := snapshot.table_of(lock)) is not None
        and not table.is_system
    }
    return list(found.values())


def parts_locked(facts: BlockerFacts) -> set[int]:
    """What it has locked to change rows: of a partitioned table the partitions that it cannot leave out."""
    return {
        lock.relation
        for lock in facts.held_locks
        if lock.locktype == "relation" and lock.mode in ("RowShareLock", CHANGE_LOCK) and lock.relation is not None
    }


def find_named_table(name: str, tables: Sequence[Relation]) -> Relation | None:
    """The one of the tables that a statement calls so; None if that is not just one."""
    found = [table for table in tables if table.is_named((name,))]
    if len(found) > 1 and "." in name:
        found = [table for table in found if table.name.replace('"', "") == name]
    return found[0] if len(found) == 1 else None
