"""Which table a running statement reads to find its rows, as its text and its locks tell together."""

from collections.abc import Iterator, Sequence

from pgdoctor.diagnosis.blocker.blocker_facts import BlockerFacts
from pgdoctor.diagnosis.index_advice import missing_index
from pgdoctor.diagnosis.index_advice.index_match import IndexedTable
from pgdoctor.model.snapshot import Relation, SimpleView
from pgdoctor.sqltext.statement import Conditions, rename_columns

#: Rows from which on reading the whole table matters.
BIG_TABLE_ROWS = 10_000

#: The lock of whoever changes rows.
CHANGE_LOCK = "RowExclusiveLock"


def find_scanned_tables(
    facts: BlockerFacts, *, trusts_hidden: bool = False
) -> Iterator[tuple[IndexedTable, Conditions]]:
    """The tables that its conditions are about, with those conditions; none of which nothing can be concluded.

    With a join an index on a joined column may serve, whatever the conditions say.
    """
    for each in facts.searches:
        asked = each.visible or each
        if not asked.filters_known or asked.tied is None or not asked.filters:
            continue
        relation = find_named_table(asked.scanned, find_locked_tables(facts))
        if relation is not None and relation.view is not None:
            relation, asked = _behind_view(relation.view, asked, facts)
        if relation is None or relation.indexes is None:
            continue
        table = IndexedTable(relation, facts.snapshot, facts.node, trusts_hidden=trusts_hidden)
        if not table.may_find_by(asked.tied or ()) and not (asked.is_cut and _may_go_on_by_index(table, asked)):
            yield table, asked


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


def open_ranges(facts: BlockerFacts) -> Iterator[str]:
    """Says which index a big table lacks for a range of which nobody knows how much it finds."""
    for table, asked in find_scanned_tables(facts):
        if table.unserved_rows(asked.filters, parts_locked(facts)) < BIG_TABLE_ROWS:
            continue
        name, doubt = table.relation.name, "an index helps only if the range is selective, which is unknown"
        yield from (f"no index on {name} ({key}): {doubt}" for key in missing_index.open_ranges(table, asked.filters))


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
        for lock in facts.held
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
        for lock in facts.held
        if lock.locktype == "relation" and lock.mode in ("RowShareLock", CHANGE_LOCK) and lock.relation is not None
    }


def find_named_table(name: str, tables: Sequence[Relation]) -> Relation | None:
    """The one of the tables that a statement calls so; None if that is not just one."""
    found = [table for table in tables if _bare(table.name) == name.rpartition(".")[2]]
    if len(found) > 1 and "." in name:
        found = [table for table in found if table.name.replace('"', "") == name]
    return found[0] if len(found) == 1 else None


def _bare(name: str) -> str:
    return name.rpartition(".")[2].strip('"')
