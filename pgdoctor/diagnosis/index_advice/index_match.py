"""Which conditions the indexes of a table serve, and how many of its rows meet them.

In doubt an index serves: a wrong "no index" is worse than none. Rules from the PostgreSQL documentation, "Indexes"
and "Operator Classes and Operator Families", held against plans of 14, 16 and 18.
"""

from collections.abc import Collection, Iterator, Sequence

from pgdoctor.model.snapshot import ColumnStats, IndexInfo, Relation, Snapshot
from pgdoctor.sqltext.conditions import Alternative, Filter, Search
from pgdoctor.sqltext.statement_tables import SortKey

#: Where a value has more than this share of the rows, an index does not help to find them: a table was read as a
#: whole for a seventh of it (measured). Its most frequent value may have a little more.
LARGE_SHARE = 0.1
LARGE_TOP_SHARE = 0.2

#: From version 18 on a btree is searched without its first columns too, if those have few different values.
_SKIP_SCAN = 180_000
_SKIPPED_SHARE = 0.01

#: Of a range whose values are not known the server expects a third of the rows, or 0.5 % with an end on both sides
#: (DEFAULT_INEQ_SEL and DEFAULT_RANGE_INEQ_SEL in selfuncs.h).
_OPEN_RANGE_SHARE = 1 / 3

_INTEGERS = frozenset({"int2", "int4", "int8"})

#: What a column of a type is cast to for a value of another type, so that its index is of no use (measured).
_CASTS = {(each, kind) for each in _INTEGERS for kind in ("numeric", "float")} | {
    ("numeric", "float"),
    ("bpchar", "text"),
}

#: Types whose beginning may be searched for.
TEXTS = frozenset({"text", "varchar", "bpchar"})


class IndexedTable:
    """A table with what is known of its indexes and columns."""

    def __init__(self, relation: Relation, snapshot: Snapshot, node: int = 0, *, trusts_hidden: bool = False) -> None:
        """`node`: the blocker whose statement searches it. `trusts_hidden`: hidden statistics are taken for good."""
        self.relation = relation
        self.columns = relation.columns or {}
        #: By column: the share of the rows that have one of the values that the statement gives.
        shares = [each for each in snapshot.value_shares.get(node, ()) if each.table == relation.oid]
        self.value_shares = {each.column: each.share for each in shares if not each.is_excluded}
        self._excluded_shares = {each.column: each.share for each in shares if each.is_excluded}
        self._trusts_hidden = trusts_hidden
        self._snapshot = snapshot
        self._can_skip = snapshot.server.version_num >= _SKIP_SCAN

    def list_partitions(self, locked: Collection[int] = ()) -> tuple[Relation, ...] | None:
        """The tables with its rows; of several partitions those that are locked, if any is. None: not known."""
        if self.relation.parts is None:
            return None
        below = [self._snapshot.relations.get(oid) for oid in self.relation.parts]
        if None in below:
            return None
        own = (self.relation, *(part for part in below if part is not None))
        found = tuple(part for part in own if part.kind in ("r", "m"))
        return tuple(part for part in found if part.oid in locked) or found

    def unserved_rows(self, filters: Sequence[Filter], locked: Collection[int] = ()) -> float:
        """Rows in tables of it where no index serves any of the conditions; 0 where that is not known."""
        parts = self.list_partitions(locked)
        if parts is None or any(part.indexes is None for part in parts):
            return 0.0
        named = {name for each in filters for arm in each.arms for name in (*arm.columns, *arm.mentions)}
        unserved = [
            max(part.live_rows, 0.0)
            for part in parts
            if not any(self.has_index_for(each, part.indexes or (), named) for each in filters)
        ]
        is_pruned = any(column.is_partition_key and column.name in named for column in self.columns.values())
        if is_pruned and not any(part.oid in locked for part in parts):
            return max(unserved, default=0.0)  # At run time all but one may be left out.
        return sum(unserved)

    def may_find_by(self, columns: Collection[str]) -> bool:
        """An index has one of the columns, or something made of it, so that a join may find rows by it."""
        if not columns or self.list_partitions() is None:
            return bool(columns)
        return not {*columns, "*"}.isdisjoint(self.indexed_columns())

    def indexed_columns(self) -> frozenset[str]:
        """The columns that an index has, or of which it has something; `*` for a whole row."""
        return frozenset(
            name
            for index in self._list_indexes()
            for name in (*index.expression_columns, *(key.column for key in index.keys if key.column))
        )

    def has_plain_index(self, name: str, method: str = "") -> bool:
        """An index of one of its parts has the column among its keys. `method`: only those of this access method."""
        return any(
            key.column == name
            for index in self._list_indexes()
            for key in index.keys
            if index.is_usable and method in ("", index.method)
        )

    def _list_indexes(self) -> Iterator[IndexInfo]:
        """Those of all its parts, and its own."""
        for part in self.list_partitions() or ():
            yield from part.indexes or ()

    def unserved_rows_of_check(self, columns: Sequence[str]) -> float:
        """The same for the check of a foreign key on the columns, which asks for values that are not NULL.

        An index on some of them serves, unless the statistics say that it finds a large share of the rows.
        """
        parts = self.list_partitions()
        if parts is None or any(part.indexes is None for part in parts):
            return 0.0
        arms = [Alternative((Search(column),)) for column in columns]
        return sum(
            max(part.live_rows, 0.0)
            for part in parts
            if not any(
                self._serves_arm(arm, index) and (_covers_all(index, columns) or not self.finds_many(arm.searches[0]))
                for index in part.indexes or ()
                if index.is_usable and (not index.is_partial or (index.is_not_null and _may_apply(index, {*columns})))
                for arm in arms
            )
        )

    def has_to_sort(self, order: Sequence[SortKey]) -> bool:
        """To find the first rows in this order it reads all of them: no index begins with the first column."""
        first = order[0].column if order else ""
        return first in self.columns and not any(
            first in (*index.expression_columns, *(key.column for key in index.keys[:1]))
            for index in self._list_indexes()
        )

    def settle_casts(self, filters: Sequence[Filter]) -> tuple[Filter, ...]:
        """The conditions, in which a cast to text is one only where the column is no text."""
        return tuple(Filter(tuple(map(self._settle_cast, each.arms))) for each in filters)

    def _settle_cast(self, arm: Alternative) -> Alternative:
        named = (self.columns.get(name) for name in arm.mentions or arm.columns)
        is_text = all(column is not None and column.type in ("text", "varchar") for column in named)
        return arm if arm.unless_text is None or is_text else arm.unless_text

    def least_share(self, filters: Sequence[Filter]) -> float:
        """The share of the rows that meet the conditions, at most, as far as statistics show."""
        least = 1.0
        for each in filters:
            searches = each.arms[0].searches if len(each.arms) == 1 else ()
            if (
                len(searches) == 1
                and searches[0].operator == "="
                and (share := self.estimate_share(searches[0])) is not None
            ):
                column = self.columns[searches[0].column]
                least *= min(max(share, (column.top_share or 0.0) * searches[0].values), 1.0)
        return least

    def is_defeated(self, search: Search) -> bool:
        """The column is cast to the type of the value, so that no plain index on it is searched."""
        column = self.columns.get(search.column)
        return column is not None and (column.type, search.value_type) in _CASTS

    def estimate_share(self, search: Search) -> float | None:
        """The share of the rows that one search finds for most values; None where that is not known."""
        column = self.columns.get(search.column)
        if column is None:
            return None
        if search.operator == "=" and column.name in self.value_shares:
            return self.value_shares[column.name]
        if column.type == "bool" and search.may_be_for_a_value:
            return None if self._trusts_hidden and column.is_hidden else 0.5
        if search.operator == "<":
            return None if search.is_bounded else _OPEN_RANGE_SHARE
        if column.null_share is None or column.distinct_values is None:
            return None
        if search.operator == "null":
            return column.null_share
        if search.operator == "not null":
            return 1 - column.null_share
        if not search.may_be_for_a_value:
            return None
        return min(search.values * (1 - column.null_share) / max(self.distinct_values(column) or 1.0, 1.0), 1.0)

    def share_of_others(self, name: str) -> float | None:
        """The share of the rows that have another value of a column than those left out; None where not known."""
        column = self.columns.get(name)
        if column is None or column.null_share is None or column.is_partition_key or name not in self._excluded_shares:
            return None
        return max(1 - column.null_share - self._excluded_shares[name], 0.0)

    def distinct_values(self, column: ColumnStats) -> float | None:
        """How many different values a column has; None where that is not known."""
        count = column.distinct_values
        if count is None or count >= 0:
            return count or None
        return -count * max(self.relation.live_rows, self.rows)

    def is_selective(self, search: Search) -> bool:
        """Nothing says that it finds a large share of the rows, and nothing that could say so is hidden from us."""
        return not (self.is_hidden(search) or self.finds_many(search))

    def is_hidden(self, search: Search) -> bool:
        """Our role may not read the statistics that would tell how many rows it finds.

        An index that begins with the column is a sign that its values are worth one.
        """
        column = self.columns.get(search.column)
        if column is None or not column.is_hidden or self._trusts_hidden:
            return False
        return not any(index.keys and index.keys[0].column == column.name for index in self._list_indexes())

    def finds_many(self, search: Search) -> bool:
        """It finds a large share of the rows, or may well do."""
        column = self.columns.get(search.column)
        if column is not None and column.is_partition_key:  # Partitions have been left out by it already.
            return True
        if column is not None and search.operator == "prefix" and column.type not in TEXTS:
            return True
        share = self.estimate_share(search)
        is_known = search.operator == "=" and search.column in self.value_shares
        is_top_likely = column is not None and (column.top_share or 0.0) > LARGE_TOP_SHARE
        if search.may_be_for_a_value and not is_known and is_top_likely:
            return True
        return share is not None and share > LARGE_SHARE

    def values_that_tell(self, search: Search) -> float | None:
        """How many values as frequent as the one that is searched for the column would have; None where not known."""
        if search.operator == "=" and search.column in self.value_shares:
            return 1 / max(self.value_shares[search.column], 1 / max(self.rows, 1.0))
        column = self.columns.get(search.column)
        return self.distinct_values(column) if column else None

    def format_column(self, name: str) -> str:
        """A column as it stands in a statement."""
        column = self.columns.get(name)
        return column.quoted if column else name

    @property
    def rows(self) -> float:
        """Rows of all its parts; 0 where that is not known."""
        return sum(max(part.live_rows, 0.0) for part in self.list_partitions() or ())

    def has_index_for(self, restriction: Filter, indexes: Sequence[IndexInfo], named: set[str]) -> bool:
        """The indexes may find the rows of a condition: every arm has one. `named`: the columns of all conditions."""
        usable = [each for each in indexes if each.is_usable and each.keys and _may_apply(each, named)]
        return bool(restriction.arms) and all(
            any(self._serves_arm(arm, index) for index in usable) for arm in restriction.arms
        )

    def _serves_arm(self, arm: Alternative, index: IndexInfo) -> bool:
        about = {*arm.columns, *arm.mentions}
        first = index.keys[0]
        is_plain = bool(arm.searches) and index.begins_with_function
        if first.column is None and about & {*index.expression_columns, "*"} and not is_plain:
            return True
        # A partial index is enough where its predicate is the condition itself.
        is_implied = index.is_not_null and all(search.operator != "not null" for search in arm.searches)
        if about & {*(index.predicate_columns or ())} and not is_implied:
            return True
        if index.method not in ("btree", "hash"):
            # What is made of the column is searched by no index on the column itself.
            return arm.helper not in ("expression", "element") and bool(about & {key.column for key in index.keys})
        return any(self._finds_rows(search, index) for search in arm.searches)

    def _finds_rows(self, search: Search, index: IndexInfo) -> bool:
        if self.is_defeated(search):
            return False
        for place, key in enumerate(index.keys):
            if key.column != search.column:
                continue
            if place > 0 and not (index.method == "btree" and self._may_skip(index, place)):
                continue
            if search.operator == "prefix":
                return key.has_prefixes and index.method == "btree"
            if search.operator in ("null", "not null"):
                return index.method == "btree"
            is_ordered = search.may_be_for_a_value or (key.is_ordered and index.method == "btree")
            return is_ordered and key.has_own_collation
        return False

    def _may_skip(self, index: IndexInfo, place: int) -> bool:
        """The server may search the index without its first columns."""
        if not self._can_skip:
            return False
        values = 1.0
        for key in index.keys[:place]:
            column = self.columns.get(key.column or "")
            count = self.distinct_values(column) if column else None
            if count is None:
                return True
            values *= count
        return values <= max(self.rows * _SKIPPED_SHARE, 1.0)


def _covers_all(index: IndexInfo, columns: Sequence[str]) -> bool:
    """It is searched by all of the columns, or there is just one."""
    return len(columns) == 1 or {key.column for key in index.keys[: len(columns)]} == {*columns}


def _may_apply(index: IndexInfo, named: set[str]) -> bool:
    """A partial index is of use only if the conditions imply its predicate: they are about its columns then."""
    return index.predicate_columns is None or {*index.predicate_columns} <= named or "*" in index.predicate_columns
