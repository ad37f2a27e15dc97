"""Which index a table lacks for the conditions of a statement."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import NamedTuple

from msgspec.structs import replace

from pgdoctor.diagnosis.index_advice.index_match import IndexedTable
from pgdoctor.model.snapshot import ColumnStats
from pgdoctor.sqltext.conditions import Alternative, Filter, GivenValues, Search
from pgdoctor.sqltext.statement import Conditions
from pgdoctor.sqltext.statement_tables import SortKey

#: Columns of a proposed index, and the rows for one value from which on another column would be of no use.
_MOST_COLUMNS = 3
_FEW_ROWS = 50

_MOST_SORTED = 4

#: Types of texts, each with the operator class by which the beginning of one is found in any collation.
PATTERN_CLASSES = {"text": "text_pattern_ops", "varchar": "varchar_pattern_ops", "bpchar": "bpchar_pattern_ops"}


class PartialIndex(NamedTuple):
    """A key as it stands in CREATE INDEX, and the condition on the rows."""

    key: str
    where: str


def missing_keys(table: IndexedTable, filters: Sequence[Filter], order: Sequence[SortKey] = ()) -> tuple[str, ...]:
    """The keys of the indexes to create, one index each, for the condition that promises most.

    `order`: how the rows are to be sorted, of which an index on values saves the sorting. Empty where none would help:
    no index can serve the conditions, or they ask for a large share of the rows.
    """
    filters = _merge_ranges(filters)
    together = _choose_together(table, filters, is_sorted=bool(_list_order(table, order, ())))
    if together:
        columns = [each.column for each in together]
        return (", ".join([*(_write_key(table, each) for each in together), *_list_order(table, order, columns)]),)
    for each in filters:
        keys = tuple(dict.fromkeys(key for arm in _list_unserved(table, each) if (key := _key_for(table, arm))))
        if keys and len(each.arms) > 1 and all(_key_for(table, arm) for arm in _list_unserved(table, each)):
            return keys
    singles = [each.arms[0] for each in filters if len(each.arms) == 1 and _key_for(table, each.arms[0])]
    # An order among those left: NULLs are often few, a range may find most.
    singles.sort(key=lambda arm: [each.operator for each in arm.searches] == ["<"])
    return (_key_for(table, singles[0]),) if singles else ()


def partial_index(table: IndexedTable, asked: Conditions) -> PartialIndex | None:
    """An index on the few rows of a truth value, or without a value: smaller than one on all rows.

    Only where the statement itself says so: a parameter is not known to fit. None where another condition tells more.
    """
    filters = _merge_ranges(asked.filters)
    together = [each.column for each in _choose_together(table, filters, is_sorted=bool(asked.sorted_by))]
    for search in (each.arms[0].searches[0] for each in filters if len(each.arms) == 1 and each.arms[0].searches):
        where = _predicate_of(table, search, asked.given)
        if where and table.is_selective(search) and together[:1] in ([], [search.column]):
            others = [table.format_column(column) for column in together if column != search.column]
            others += _list_order(table, asked.sorted_by, [*together, search.column])
            return PartialIndex(", ".join(others) or table.format_column(search.column), where)
    return None


def index_of_others(table: IndexedTable, asked: Conditions, arm: Alternative) -> PartialIndex:
    """An index on the rows that have another value of a column than those left out, which stand as `?`."""
    column = table.format_column(arm.mentions[0])
    order = _list_order(table, asked.sorted_by, ())
    where = f"{column} <> ?" if len(arm.excluded) == 1 else f"{column} NOT IN (?)"
    return PartialIndex(", ".join(order) or column, where)


def _predicate_of(table: IndexedTable, search: Search, given: Sequence[GivenValues]) -> str:
    """The condition on a truth value or on NULL as a predicate; empty where it is none."""
    if search.is_test:
        return ""
    if search.operator == "null":
        return f"{table.format_column(search.column)} IS NULL"
    truths = [each.truths for each in given if each.column == search.column and not each.places]
    if search.operator != "=" or not truths or len(truths[0]) != 1:
        return ""
    return table.format_column(search.column) if truths[0][0] else f"NOT {table.format_column(search.column)}"


def _list_order(table: IndexedTable, order: Sequence[SortKey], left_out: Sequence[str]) -> list[str]:
    """The columns that rows are sorted by, as keys; up to one that is not known. All the other way round is no need."""
    known = list(takewhile(lambda each: each.column in table.columns, order))[:_MOST_SORTED]
    is_mixed = len({each.is_descending for each in known}) > 1
    return [
        f"{table.format_column(each.column)} DESC"
        if is_mixed and each.is_descending
        else table.format_column(each.column)
        for each in known
        if each.column not in left_out
    ]


def find_open_ranges(table: IndexedTable, filters: Sequence[Filter]) -> tuple[str, ...]:
    """The keys of indexes that may or may not help: for ranges of unknown selectivity."""
    singles = [each.arms[0].searches for each in _merge_ranges(filters) if len(each.arms) == 1]
    ranges = [found[0] for found in singles if len(found) == 1 and found[0].operator == "<"]
    return tuple(
        dict.fromkeys(
            _write_key(table, each)
            for each in ranges
            if not each.is_bounded and table.is_selective(replace(each, is_bounded=True))
        )
    )


def find_defeated_column(table: IndexedTable, filters: Sequence[Filter]) -> ColumnStats | None:
    """A column that has an index, which a cast keeps from being used."""
    for each in _merge_ranges(filters):
        for search in (search for arm in each.arms for search in arm.searches):
            plain = Filter((Alternative((Search(search.column, search.operator),)),))
            if table.is_defeated(search) and table.relation.indexes is not None and table.is_selective(search):
                named = {search.column}
                if table.has_index_for(plain, table.relation.indexes, named):
                    return table.columns[search.column]
    return None


def _write_key(table: IndexedTable, search: Search) -> str:
    """A key of an index that serves the search, as it stands in a statement."""
    column = table.columns.get(search.column)
    is_pattern = search.operator in ("prefix", "pattern")
    if column is None or not is_pattern or column.is_bytewise or column.type not in PATTERN_CLASSES:
        return table.format_column(search.column)
    return f"{column.quoted} {PATTERN_CLASSES[column.type]}"


def _choose_together(table: IndexedTable, filters: Sequence[Filter], is_sorted: bool = False) -> list[Search]:
    """Searches of AND-ed conditions for one index: the values that tell most, then the beginning of an order.

    `is_sorted`: the sort columns come behind the values.
    """
    arms = [each.arms[0] for each in filters if len(each.arms) == 1]
    alone = [arm.searches[0] for arm in arms if len(arm.searches) == 1 and not arm.is_doubtful]
    usable = [each for each in dict.fromkeys(alone) if not table.is_defeated(each)]
    equal = [each for each in usable if each.may_be_for_a_value and table.is_selective(each)]
    equal.sort(key=lambda each: -(table.values_that_tell(each) or 0.0))
    chosen: list[Search] = []
    rows: float | None = table.rows
    for search in equal[:_MOST_COLUMNS]:
        if rows is not None and rows < _FEW_ROWS and chosen:
            break
        chosen.append(search)
        values = table.values_that_tell(search)
        rows = rows / values if rows is not None and values else None
    if chosen and not is_sorted and len(chosen) < _MOST_COLUMNS and (rows is None or rows >= _FEW_ROWS):
        columns = {each.column for each in chosen}
        orders = [each for each in usable if each.operator in ("<", "prefix") and each.column not in columns]
        # Behind values even an open range narrows what is read.
        chosen += [each for each in orders if table.is_selective(replace(each, is_bounded=True))][:1]
    return chosen


def _list_unserved(table: IndexedTable, restriction: Filter) -> list[Alternative]:
    indexes = table.relation.indexes or ()
    named = {name for arm in restriction.arms for name in (*arm.columns, *arm.mentions)}
    return [arm for arm in restriction.arms if not table.has_index_for(Filter((arm,)), indexes, named)]


def _key_for(table: IndexedTable, arm: Alternative) -> str:
    """The key of an index for one arm; empty where none would help, or may not."""
    if arm.is_doubtful:
        return ""
    if arm.function and table.is_selective(Search(arm.mentions[0])):
        return f"{arm.function}({table.format_column(arm.mentions[0])})"
    searches = [each for each in arm.searches if not table.is_defeated(each) and table.is_selective(each)]
    return _write_key(table, searches[0]) if searches else ""


def _merge_ranges(filters: Sequence[Filter]) -> tuple[Filter, ...]:
    """The same conditions; two ranges of one column, which must both hold, have an end on both sides."""
    alone = (search for each in filters if len(each.arms) == 1 for search in each.arms[0].searches)
    ranges = Counter(search.column for search in alone if search.operator == "<")
    return tuple(
        Filter(
            tuple(
                replace(arm, searches=tuple(_mark_bounded(search, ranges) for search in arm.searches))
                for arm in each.arms
            )
        )
        for each in filters
    )


def _mark_bounded(search: Search, ranges: Mapping[str, int]) -> Search:
    return replace(search, is_bounded=True) if search.operator == "<" and ranges[search.column] > 1 else search
