"""Which conditions the indexes of a table serve, how many of its rows meet them, and which index is missing.

In doubt an index serves: a wrong "no index" is worse than none. Rules from the PostgreSQL documentation, "Indexes"
and "Operator Classes and Operator Families", held against plans of 14, 16 and 18.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from msgspec.structs import replace

from pgdoctor.diagnosis.predicate import Arm, Filter, Search
from pgdoctor.diagnosis.snapshot import Column, Index, Relation, Snapshot

#: Where a value has more than this share of the rows, an index does not help to find them: a table was read as a
#: whole for a seventh of it (measured). Its most frequent value may have a little more.
LARGE_SHARE = 0.1
LARGE_TOP_SHARE = 0.2

#: Columns of a proposed index, and the rows for one value from which on another column would be of no use.
_MOST_COLUMNS = 3
_FEW_ROWS = 50

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

#: Types of texts, each with the operator class by which the beginning of one is found in any collation.
PATTERN_CLASSES = {"text": "text_pattern_ops", "varchar": "varchar_pattern_ops", "bpchar": "bpchar_pattern_ops"}


class Table:
    """A table with what is known of its indexes and columns."""

    def __init__(self, relation: Relation, snapshot: Snapshot) -> None:
        self.relation = relation
        self.columns = relation.columns or {}
        self._snapshot = snapshot
        self._can_skip = snapshot.server.version_num >= _SKIP_SCAN

    def parts(self, locked: Collection[int] = ()) -> tuple[Relation, ...] | None:
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
        parts = self.parts(locked)
        if parts is None or any(part.indexes is None for part in parts):
            return 0.0
        named = {name for each in filters for arm in each.arms for name in (*arm.columns, *arm.mentions)}
        unserved = [
            max(part.live_rows, 0.0)
            for part in parts
            if not any(self._serves(each, part.indexes or (), named) for each in filters)
        ]
        is_pruned = any(column.is_partition_key and column.name in named for column in self.columns.values())
        if is_pruned and not any(part.oid in locked for part in parts):
            return max(unserved, default=0.0)  # At run time all but one may be left out.
        return sum(unserved)

    def may_find_by(self, columns: Collection[str]) -> bool:
        """An index has one of the columns, or something made of it, so that a join may find rows by it."""
        parts = self.parts()
        if not columns or parts is None:
            return bool(columns)
        indexes = (index for part in parts for index in part.indexes or ())
        return any(
            not {*columns, "*"}.isdisjoint((*index.expression_columns, *(key.column for key in index.keys)))
            for index in indexes
        )

    def unserved_rows_of_check(self, columns: Sequence[str]) -> float:
        """The same for the check of a foreign key on the columns, which asks for values that are not NULL.

        An index on some of them serves, unless the statistics say that it finds a large share of the rows.
        """
        parts = self.parts()
        if parts is None or any(part.indexes is None for part in parts):
            return 0.0
        arms = [Arm((Search(column),)) for column in columns]
        return sum(
            max(part.live_rows, 0.0)
            for part in parts
            if not any(
                self._serves_arm(arm, index) and (_covers(index, columns) or self.is_selective(arm.searches[0]))
                for index in part.indexes or ()
                if index.is_usable and (not index.is_partial or (index.is_not_null and _may_apply(index, {*columns})))
                for arm in arms
            )
        )

    def is_defeated(self, search: Search) -> bool:
        """The column is cast to the type of the value, so that no plain index on it is searched."""
        column = self.columns.get(search.column)
        return column is not None and (column.type, search.value_type) in _CASTS

    def share(self, search: Search) -> float | None:
        """The share of the rows that one search finds for most values; None where that is not known."""
        column = self.columns.get(search.column)
        if column is None:
            return None
        if column.type == "bool" and search.operator == "=":
            return 0.5
        if search.operator == "<":
            return None if search.is_bounded else _OPEN_RANGE_SHARE
        if column.null_share is None or column.distinct_values is None:
            return None
        if search.operator == "null":
            return column.null_share
        if search.operator == "not null":
            return 1 - column.null_share
        if search.operator != "=":
            return None
        return (1 - column.null_share) / max(self.distinct_values(column) or 1.0, 1.0)

    def distinct_values(self, column: Column) -> float | None:
        """How many different values a column has; None where that is not known."""
        count = column.distinct_values
        if count is None or count >= 0:
            return count or None
        return -count * max(self.relation.live_rows, self._rows())

    def is_selective(self, search: Search) -> bool:
        """Nothing says that it finds a large share of the rows."""
        column = self.columns.get(search.column)
        if column is not None and column.is_partition_key:  # Partitions have been left out by it already.
            return False
        if column is not None and search.operator == "=" and (column.top_share or 0.0) > LARGE_TOP_SHARE:
            return False
        if column is not None and search.operator == "prefix" and column.type not in PATTERN_CLASSES:
            return False
        share = self.share(search)
        return share is None or share <= LARGE_SHARE

    def written(self, name: str) -> str:
        """A column as it stands in a statement."""
        column = self.columns.get(name)
        return column.quoted if column else name

    def key(self, search: Search) -> str:
        """A key of an index that serves the search, as it stands in a statement."""
        column = self.columns.get(search.column)
        if column is None or search.operator != "prefix" or column.is_bytewise:
            return self.written(search.column)
        return f"{column.quoted} {PATTERN_CLASSES.get(column.type, 'text_pattern_ops')}"

    def missing_keys(self, filters: Sequence[Filter]) -> tuple[str, ...]:
        """The keys of the indexes to create, one index each, for the condition that promises most.

        Empty where none would help: no index can serve the conditions, or they ask for a large share of the rows.
        """
        filters = _bounded(filters)
        together = self._together(filters)
        if together:
            return (", ".join(map(self.key, together)),)
        for each in filters:
            keys = tuple(dict.fromkeys(key for arm in self._unserved(each) if (key := self._key_for(arm))))
            if keys and len(each.arms) > 1 and all(self._key_for(arm) for arm in self._unserved(each)):
                return keys
        singles = [each.arms[0] for each in filters if len(each.arms) == 1 and self._key_for(each.arms[0])]
        # An order among those left: NULLs are often few, a range may find most.
        singles.sort(key=lambda arm: [each.operator for each in arm.searches] == ["<"])
        return (self._key_for(singles[0]),) if singles else ()

    def defeated(self, filters: Sequence[Filter]) -> Column | None:
        """A column that has an index, which a cast keeps from being used."""
        for each in _bounded(filters):
            for search in (search for arm in each.arms for search in arm.searches):
                plain = Filter((Arm((Search(search.column, search.operator),)),))
                if self.is_defeated(search) and self.relation.indexes is not None and self.is_selective(search):
                    named = {search.column}
                    if self._serves(plain, self.relation.indexes, named):
                        return self.columns[search.column]
        return None

    def open_ranges(self, filters: Sequence[Filter]) -> tuple[str, ...]:
        """The keys of indexes that may or may not help: for ranges of which nobody knows how much they find."""
        singles = [each.arms[0].searches for each in _bounded(filters) if len(each.arms) == 1]
        ranges = [found[0] for found in singles if len(found) == 1 and found[0].operator == "<"]
        return tuple(
            dict.fromkeys(
                self.key(each)
                for each in ranges
                if not each.is_bounded and self.is_selective(replace(each, is_bounded=True))
            )
        )

    def _rows(self) -> float:
        return sum(max(part.live_rows, 0.0) for part in self.parts() or ())

    def _together(self, filters: Sequence[Filter]) -> list[Search]:
        """Searches of AND-ed conditions for one index: the values that tell most, then the beginning of an order."""
        alone = [
            each.arms[0].searches[0] for each in filters if len(each.arms) == 1 and len(each.arms[0].searches) == 1
        ]
        usable = [each for each in dict.fromkeys(alone) if not self.is_defeated(each)]
        equal = [each for each in usable if each.operator == "=" and self.is_selective(each)]
        equal.sort(key=lambda each: -(self._known_values(each) or 0.0))
        chosen: list[Search] = []
        rows: float | None = self._rows()
        for search in equal[:_MOST_COLUMNS]:
            if rows is not None and rows < _FEW_ROWS and chosen:
                break
            chosen.append(search)
            values = self._known_values(search)
            rows = rows / values if rows is not None and values else None
        if chosen and len(chosen) < _MOST_COLUMNS and (rows is None or rows >= _FEW_ROWS):
            columns = {each.column for each in chosen}
            orders = [each for each in usable if each.operator in ("<", "prefix") and each.column not in columns]
            # Behind values even an open range narrows what is read.
            chosen += [each for each in orders if self.is_selective(replace(each, is_bounded=True))][:1]
        return chosen

    def _known_values(self, search: Search) -> float | None:
        column = self.columns.get(search.column)
        return self.distinct_values(column) if column else None

    def _unserved(self, restriction: Filter) -> list[Arm]:
        indexes = self.relation.indexes or ()
        named = {name for arm in restriction.arms for name in (*arm.columns, *arm.mentions)}
        return [arm for arm in restriction.arms if not self._serves(Filter((arm,)), indexes, named)]

    def _key_for(self, arm: Arm) -> str:
        """The key of an index for one arm; empty where none would help."""
        if arm.function and self.is_selective(Search(arm.mentions[0])):
            return f"{arm.function}({self.written(arm.mentions[0])})"
        searches = [each for each in arm.searches if not self.is_defeated(each) and self.is_selective(each)]
        return self.key(searches[0]) if searches else ""

    def _serves(self, restriction: Filter, indexes: Sequence[Index], named: set[str]) -> bool:
        """The indexes may find the rows of a condition: every arm has one. `named`: the columns of all conditions."""
        usable = [each for each in indexes if each.is_usable and each.keys and _may_apply(each, named)]
        return bool(restriction.arms) and all(
            any(self._serves_arm(arm, index) for index in usable) for arm in restriction.arms
        )

    def _serves_arm(self, arm: Arm, index: Index) -> bool:
        about = {*arm.columns, *arm.mentions}
        first = index.keys[0]
        if first.column is None and about & {*index.expression_columns, "*"}:
            return True
        # A partial index is enough where its predicate is the condition itself.
        is_implied = index.is_not_null and all(search.operator != "not null" for search in arm.searches)
        if about & {*(index.predicate_columns or ())} and not is_implied:
            return True
        if index.method not in ("btree", "hash"):
            return bool(about & {key.column for key in index.keys})
        return any(self._finds(search, index) for search in arm.searches)

    def _finds(self, search: Search, index: Index) -> bool:
        if self.is_defeated(search):
            return False
        for place, key in enumerate(index.keys):
            if key.column != search.column:
                continue
            if place > 0 and not (index.method == "btree" and self._skips(index, place)):
                continue
            if search.operator == "prefix":
                return key.has_prefixes and index.method == "btree"
            if search.operator in ("null", "not null"):
                return index.method == "btree"
            is_ordered = search.operator == "=" or (key.is_ordered and index.method == "btree")
            return is_ordered and key.has_own_collation
        return False

    def _skips(self, index: Index, place: int) -> bool:
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
        return values <= max(self._rows() * _SKIPPED_SHARE, 1.0)


def _covers(index: Index, columns: Sequence[str]) -> bool:
    """It is searched by all of the columns, or there is just one."""
    return len(columns) == 1 or {key.column for key in index.keys[: len(columns)]} == {*columns}


def _bounded(filters: Sequence[Filter]) -> tuple[Filter, ...]:
    """The same conditions; two ranges of one column, which must both hold, have an end on both sides."""
    alone = (search for each in filters if len(each.arms) == 1 for search in each.arms[0].searches)
    ranges = Counter(search.column for search in alone if search.operator == "<")
    return tuple(
        Filter(
            tuple(replace(arm, searches=tuple(_bound(search, ranges) for search in arm.searches)) for arm in each.arms)
        )
        for each in filters
    )


def _bound(search: Search, ranges: Mapping[str, int]) -> Search:
    return replace(search, is_bounded=True) if search.operator == "<" and ranges[search.column] > 1 else search


def _may_apply(index: Index, named: set[str]) -> bool:
    """A partial index is of use only if the conditions imply its predicate: they are about its columns then."""
    return index.predicate_columns is None or {*index.predicate_columns} <= named or "*" in index.predicate_columns
