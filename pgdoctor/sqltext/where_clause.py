"""The part of `predicate` that needs sqlglot. Import it late: it costs 9 to 31 MB of memory (measured).

Which conditions an index can serve is from the PostgreSQL documentation, "Index Types", and from plans of 15 and 18.
In doubt a condition counts as served: a wrong "no index" is worse than none.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

import sqlglot
from msgspec.structs import replace
from sqlglot import exp
from sqlglot.dialects.postgres import Postgres

from pgdoctor.sqltext.column_expressions import describe_wrapping, enclosing_node, function_name, read_expression
from pgdoctor.sqltext.conditions import (
    NO_COLUMN,
    UNKNOWN_VALUE,
    Alternative,
    Filter,
    GivenValues,
    Helper,
    Operator,
    Places,
    Predicate,
    Search,
    Tie,
)
from pgdoctor.sqltext.lexer import stand_in_number, word_set
from pgdoctor.sqltext.operands import is_volatile, may_change, outside_of_queries, value_type

if TYPE_CHECKING:
    from sqlglot.expressions import Expr as Node

# What it cannot parse it logs, and goes on.
sqlglot.logger.disabled = True

_RANGES = (exp.LT, exp.LTE, exp.GT, exp.GTE)

#: First characters of a pattern before which nothing is known.
_WILD = ("%", "_")

#: Values without brackets that are columns to some versions of sqlglot.
_NOT_COLUMNS = word_set("user current_role current_catalog current_schema session_user localtime localtimestamp")


#: Columns that no index can be on.
_SYSTEM_COLUMNS = word_set("tableoid xmin xmax cmin cmax")

#: Casts that leave a literal what it is: to a type of the server's own for the column, or to an enum.
_PLAIN_CASTS = frozenset(
    {
        exp.DataType.Type.TEXT,
        exp.DataType.Type.VARCHAR,
        exp.DataType.Type.SMALLINT,
        exp.DataType.Type.INT,
        exp.DataType.Type.BIGINT,
        exp.DataType.Type.USERDEFINED,
    }
)

#: Steps over a token, forwards or back, that the parser may take: a clause of 1,000 tokens takes about 1,100, and a
#: step some 10 µs. Grammars of other systems are tried on `struct<struct<…`, which doubles the work with each word:
#: 30 words took minutes and 19 GB (measured).
_MOST_STEPS = 3_000


_CAST = re.compile(r"::|\bcast\b", re.IGNORECASE)
_TEXT_TYPES = frozenset({exp.DataType.Type.TEXT, exp.DataType.Type.VARCHAR})


class _Unclear(Exception):
    """Nothing should be concluded from this condition."""


class BoundedPostgres(Postgres):
    """Postgres, read in bounded time."""

    #: Where subscripts begin does not matter here, and to allow for it takes quadratic time.
    INDEX_OFFSET = 0

    class Parser(Postgres.Parser):  # type: ignore[misc, valid-type]
        steps = 0

        def _advance(self, times: int = 1) -> None:
            self.steps += 1
            if self.steps > _MOST_STEPS:
                raise _Unclear
            super()._advance(times)


def read_condition(condition: str, owner: str, is_alone: bool, places: Places) -> Predicate | None:
    """See `conditions.read_predicate`; the condition is free of literals, and shallow."""
    try:
        tree = sqlglot.parse_one(
            f"SELECT 1 WHERE {condition}", read=BoundedPostgres, error_level=sqlglot.ErrorLevel.RAISE
        )
        return _Reader(owner, is_alone, places, has_casts=_CAST.search(condition) is not None).read_predicate(
            tree.args["where"].this
        )
    except Exception:  # noqa: BLE001 - sqlglot raises IndexError and RecursionError among many others.
        return None


class _Reader:
    def __init__(self, owner: str, is_alone: bool, places: Places, *, has_casts: bool = False) -> None:
        self.owner = owner
        self.is_alone = is_alone
        self._places = places
        self._has_casts = has_casts
        #: By column, what it is compared with; None: also with what is not known.
        self._given: dict[str, set[int | bool] | None] = {}

    def read_predicate(self, tree: Node) -> Predicate:
        filters, joins = self.split_conditions(tree)
        tied = tuple(dict.fromkeys(chain.from_iterable(map(self.list_ties, joins))))
        return Predicate(filters, bool(joins), tied, tuple(self.list_given()), self.only_tie(joins))

    def split_conditions(self, tree: Node) -> tuple[tuple[Filter, ...], list[Node]]:
        """The conditions on the table alone, and those that tie it to others or are about others."""
        filters = []
        joins = []
        for conjunct in list_sides(tree, exp.And):
            sides = list(list_sides(conjunct, exp.Or))
            arms = [self.read_arm(side) for side in sides if len(sides) == 1 or not _is_never(side)]
            if None in arms:
                joins.append(conjunct)
            else:
                filters.append(Filter(tuple(arm for arm in arms if arm is not None)))
        return tuple(filters), joins

    def only_tie(self, joins: Sequence[Node]) -> Tie | None:
        """The one equality that ties the table to another; None where it is none, or not the only one."""
        tying = [each for each in joins if any(self.list_ties(each))]
        if len(tying) != 1:
            return None
        if (query := _find_query(tying[0])) is not None:
            return self.tie_to_query(tying[0], query)
        if not isinstance(tying[0], exp.EQ):
            return None
        found = self.equal_columns(tying[0])
        if found is None:
            return None
        own, other = found
        return Tie(own, other.table, other.name, filters=self.filters_on(other.table, joins))

    def equal_columns(self, node: Node) -> tuple[str, exp.Column] | None:
        """The table's column and the other one of `column = other.column`."""
        sides = [node.this.unnest(), node.expression.unnest()]
        if not all(isinstance(side, exp.Column) and side.table for side in sides):
            return None
        own, other = sorted(sides, key=lambda side: not self.is_own(side))
        return (own.name, other) if self.is_own(own) and not self.is_own(other) else None

    def filters_on(self, owner: str, joins: Sequence[Node]) -> tuple[Filter, ...]:
        """What is asked of another table alone."""
        reader = _Reader(owner, False, self._places, has_casts=self._has_casts)
        try:
            return tuple(
                chain.from_iterable(reader.split_conditions(each)[0] for each in joins if _has_owner(each, owner))
            )
        except _Unclear:
            return ()

    def tie_to_query(self, node: Node, query: exp.Select) -> Tie | None:
        """`column IN (SELECT other FROM table ...)`, or with ANY, or `EXISTS (... WHERE other = column)`."""
        table = _only_table(query)
        if table is None:
            return None
        alias = table.alias or table.name
        inner = _Reader(alias, True, self._places, has_casts=self._has_casts)
        where = query.args.get("where")
        try:
            filters, joins = inner.split_conditions(where.this) if where is not None else ((), [])
        except _Unclear:
            return None
        name = f"{table.db}.{table.name}" if table.db else table.name
        if isinstance(node, exp.Exists):
            found = inner.equal_columns(joins[0]) if len(joins) == 1 and isinstance(joins[0], exp.EQ) else None
            if found is None or found[1].table != self.owner:
                return None
            return Tie(found[1].name, alias, found[0], name, filters)
        own, others = self.list_plain(node.this), query.expressions
        if joins or len(own) != 1 or len(others) != 1 or not inner.is_own(others[0]):
            return None
        return Tie(own[0], alias, others[0].name, name, filters)

    def list_given(self) -> Iterator[GivenValues]:
        """The columns of which all values are known."""
        for column, values in self._given.items():
            if values:
                places = sorted(each for each in values if not isinstance(each, bool))
                yield GivenValues(
                    column, tuple(places), tuple(each for each in (False, True) if _holds_truth(values, each))
                )

    def note_search(self, columns: Sequence[str], *values: Node | bool | None) -> None:
        """A search of columns for values; None is one that is not known."""
        for column in columns:
            known = [self.read_value(value) for value in values] if len(columns) == 1 else [None]
            earlier = self._given.get(column, set())
            if earlier is None or None in known:
                self._given[column] = None
            else:
                self._given[column] = earlier.union(*(each or () for each in known))

    def read_value(self, value: Node | bool | None) -> tuple[int | bool, ...] | None:
        """Where the literals of a value begin, or its truth; None where it is no literal."""
        if value is None or isinstance(value, bool):
            return None if value is None else (value,)
        found: Node = value.unnest()
        if isinstance(found, exp.Boolean):
            return (bool(found.this),)
        if isinstance(found, exp.Cast) and found.to.this in _PLAIN_CASTS and not found.to.expressions:
            found = found.this.unnest()
        places = self.find_places(found)
        return places if places and UNKNOWN_VALUE not in places else None

    def find_places(self, value: Node) -> tuple[int, ...]:
        """Where a literal or parameter stands, with those like it in a list that it stands for; empty if not known."""
        if isinstance(value, exp.Any) and isinstance(value.this.unnest(), exp.Array):
            each = value.this.unnest().expressions
            value = each[0] if len(each) == 1 else value
        if isinstance(value, exp.Parameter):
            return self._places.get(f"${value.name}", ())
        number = stand_in_number(value.name) if isinstance(value, exp.Literal) else None
        return self._places.get(number, ()) if number is not None else ()

    def list_ties(self, node: Node) -> Iterator[str]:
        """The columns in a join that are the table's, or may be: those without a qualifier too."""
        for column in node.find_all(exp.Column):
            if column.table in ("", self.owner) and not _is_value(column):
                if column.name == "ctid":  # Rows are fetched by their place, which needs no index.
                    raise _Unclear
                yield column.name

    def read_arm(self, node: Node) -> Alternative | None:
        """One condition; None if it ties the table to another one, or is about another one."""
        if self.is_about_others(node):
            return None
        own = self.list_columns(node)
        if "ctid" in own:  # Rows are fetched by their place, which needs no index.
            raise _Unclear
        if not own or not _SYSTEM_COLUMNS.isdisjoint(own):
            return Alternative(obstacle=NO_COLUMN)
        return self.judge_condition(node)

    def judge_condition(self, node: Node) -> Alternative:
        """A condition on columns of the table and of no other."""
        if isinstance(node, exp.Or):  # Inside of an AND inside of an OR.
            raise _Unclear
        if self._has_casts and (plain := self.without_text_casts(node)) is not None:
            found = self.judge_as_it_stands(plain)
            if found.searches or found.function:
                return replace(found, unless_text=self.judge_as_it_stands(node))
        return self.judge_as_it_stands(node)

    def judge_as_it_stands(self, node: Node) -> Alternative:
        for kinds, judge in _JUDGES:
            if isinstance(node, kinds):
                return judge(self, node)
        obstacle, helper = self.find_wrapping(node)
        return self.build_blocked(node, obstacle, "gin" if helper == "gin" else "")

    def without_text_casts(self, node: Node) -> Node | None:
        """The condition without casts of columns to text; None where it has none."""
        if isinstance(node, (exp.And, exp.Or)) or not any(map(self.is_text_cast, node.find_all(exp.Cast))):
            return None
        found: Node = node.copy().transform(lambda each: each.this.unnest() if self.is_text_cast(each) else each)
        return found

    def is_text_cast(self, node: Node) -> bool:
        is_text = isinstance(node, exp.Cast) and node.to.this in _TEXT_TYPES and not node.to.expressions
        return is_text and self.is_own(node.this.unnest())

    def read_conjunction(self, node: Node) -> Alternative:
        """Conditions inside of an arm: an index on any one of them finds the rows of the arm."""
        arms = [self.judge_condition(each) for each in list_sides(node, exp.And) if self.list_columns(each)]
        searches = tuple(dict.fromkeys(search for arm in arms for search in arm.searches))
        return Alternative(searches, is_doubtful=any(arm.is_doubtful for arm in arms)) if searches else arms[0]

    def read_negation(self, node: Node) -> Alternative:
        inner = node.this.unnest()
        if isinstance(inner, (exp.And, exp.Or)):
            raise _Unclear
        if isinstance(inner, exp.NEQ):
            return self.read_comparison(inner)
        if (
            isinstance(inner, exp.Is)
            and isinstance(inner.expression, exp.Null)
            and (columns := self.list_plain(inner.this))
        ):
            return self.found_by(inner, columns, "not null")
        if isinstance(inner, exp.Column):
            return self.read_boolean(inner, is_true=False)
        if isinstance(inner, exp.EQ) and self.list_plain(inner.this):
            return self.read_others(node, "<> cannot use an index", inner.this, [inner.expression])
        if isinstance(inner, exp.In) and not inner.args.get("query"):
            return self.read_others(node, "NOT IN cannot use an index", inner.this, inner.expressions)
        if isinstance(inner, (exp.Is, *_RANGES)):
            self.note_search(self.list_columns(inner), None)
            return self.judge_condition(inner)
        return self.build_blocked(node, "a negation cannot use an index")

    def read_boolean(self, node: Node, *, is_true: bool = True) -> Alternative:
        self.note_search((node.name,), is_true)
        return Alternative((Search(node.name),))

    def read_comparison(self, node: Node) -> Alternative:
        left, right = node.this, node.expression
        for side, other in ((left, right), (right, left)):
            if columns := self.list_plain(side):
                # An index on (a, b) is searched by the order of a first: for < only a leads.
                if isinstance(node, _RANGES):
                    return self.found_by(node, columns[:1], "<", other)
                return self.found_by(node, columns, "=", other)
            if (column := self.find_folded(side)) and isinstance(node, exp.EQ) and not self.list_columns(other):
                return self.read_wrapped(column, side)
        is_for_values = isinstance(node, exp.EQ) and not isinstance(right.unnest(), exp.Boolean)
        side = left if self.list_columns(left) else right
        return self.read_hidden(
            node, is_for_values and not (self.list_columns(left) and self.list_columns(right)), side
        )

    def read_inequality(self, node: Node) -> Alternative:
        if isinstance(node.expression, exp.Boolean):  # `flag <> true` is `not flag` to the planner.
            if (columns := self.list_plain(node.this)) and len(columns) == 1:
                self.note_search(columns, not node.expression.this)
                return Alternative((Search(columns[0]),))
            return self.read_comparison(node)
        left, right = sorted((node.this, node.expression), key=lambda side: not self.list_plain(side))
        return self.read_others(node, "<> cannot use an index", left, [right])

    def read_others(self, node: Node, obstacle: str, side: Node, values: Sequence[Node]) -> Alternative:
        """The rows that have other values of a column than the given ones: few, where most have one of these."""
        columns, known = self.list_plain(side), [self.read_value(value) for value in values]
        places = [place for each in known for place in each or () if not isinstance(place, bool)]
        is_known = (
            len(columns) == 1 and all(known) and not any(isinstance(value.unnest(), exp.Boolean) for value in values)
        )
        found = self.build_blocked(node, obstacle, "others" if is_known else "")
        return replace(found, excluded=tuple(places)) if is_known else found

    def read_distinction(self, node: Node) -> Alternative:
        """IS DISTINCT FROM; IS NOT DISTINCT FROM is an equality that no index is searched for."""
        if isinstance(node, exp.NullSafeNEQ):
            return self.build_blocked(node, "IS DISTINCT FROM cannot use an index")
        is_plain = len(self.list_plain(node.this)) == 1 and self.read_value(node.expression) is not None
        return self.build_blocked(node, "IS NOT DISTINCT FROM cannot use an index", "equality" if is_plain else "")

    def read_membership(self, node: Node) -> Alternative:
        """IN a list, and IS NULL and its like."""
        columns = self.list_plain(node.this)
        if columns:
            operator: Operator = "="
            if isinstance(node, exp.Is) and isinstance(node.expression, exp.Null):
                operator = "not null" if node.args.get("negate") else "null"
            values = node.expressions or ([node.expression] if isinstance(node, exp.Is) else [])
            found = self.found_by(node, columns, operator, *values)
            return _as_test(found) if isinstance(node, exp.Is) and operator == "=" else found
        if (column := self.find_folded(node.this)) and not any(map(self.list_columns, node.expressions)):
            return self.read_wrapped(column, node.this)
        is_for_values = isinstance(node, exp.In) and not any(map(self.list_columns, node.expressions))
        return self.read_hidden(node, is_for_values, node.this)

    def read_interval(self, node: Node) -> Alternative:
        """BETWEEN is two comparisons, and one that is served will do."""
        if self.list_columns(node.this) and not self.list_plain(node.this):
            is_for_values = not any(self.list_columns(node.args[end]) for end in ("low", "high"))
            return self.read_hidden(node, is_for_values, node.this)
        bounds = (
            exp.GTE(this=node.this, expression=node.args["low"]),
            exp.LTE(this=node.this, expression=node.args["high"]),
        )
        arms = [self.judge_condition(bound) for bound in bounds if self.list_columns(bound)]
        arm = next((arm for arm in arms if arm.columns), arms[0])
        is_bounded = [each.columns for each in arms] == [arm.columns] * 2
        return replace(arm, searches=tuple(replace(search, is_bounded=is_bounded) for search in arm.searches))

    def read_pattern(self, node: Node) -> Alternative:
        """A pattern is searched by what comes before its first wildcard; a parameter's is not known."""
        if not self.list_plain(node.this):
            return self.read_hidden(node, False, node.this)
        pattern = node.expression.unnest()
        if node.args.get("negate"):
            return self.build_blocked(node, "a negation cannot use an index")
        if isinstance(pattern, (exp.Any, exp.Array)):
            return self.build_blocked(node, "one of several patterns")
        known = pattern.name if isinstance(pattern, exp.Literal) else None
        if known is not None and known[:1] in _WILD and isinstance(node, (exp.Like, exp.SimilarTo)):
            return self.build_blocked(node, "leading wildcard", "trigrams" if known == "%x" else "")
        if known is not None and known[:1] != "^" and isinstance(node, exp.RegexpLike):
            return self.free_pattern(node)
        # The pattern that is not known, and a regular expression, may turn out to be a value.
        operator: Operator = "pattern"
        if isinstance(node, exp.StartsWith) or (
            isinstance(node, exp.Like) and known is not None and known.endswith("%")
        ):
            operator = "prefix"
        elif isinstance(node, exp.Like) and known is not None:
            operator = "="
        return self.found_by(node, self.list_plain(node.this), operator, pattern)

    def free_pattern(self, node: Node) -> Alternative:
        """A pattern whose beginning is free, or may be: what has no case, as a digit, is still searched by."""
        if node.args.get("negate"):
            return self.build_blocked(node, "a negation cannot use an index")
        pattern = node.expression.unnest()
        is_free = pattern.name == "%x" if isinstance(node, exp.ILike) else not pattern.name.startswith("^")
        helps = isinstance(pattern, exp.Literal) and self.list_plain(node.this)
        helper: Helper = "trigrams" if is_free else "folded" if _has_no_wildcard(node) else ""
        return self.build_blocked(node, "ILIKE or regular expression", helper if helps else "")

    def read_escaped(self, node: Node) -> Alternative:
        """With an escape character of its own a pattern's wildcard may be none."""
        arm = self.judge_condition(node.this)
        return replace(arm, searches=tuple(Search(search.column, "pattern") for search in arm.searches))

    def find_folded(self, node: Node) -> str:
        """The column inside of `lower(column)` or `upper(column)`; else empty."""
        node = node.unnest()
        found = self.list_plain(node.this) if isinstance(node, (exp.Lower, exp.Upper)) else ()
        return found[0] if len(found) == 1 else ""

    def read_wrapped(self, column: str, side: Node) -> Alternative:
        function = "lower" if isinstance(side.unnest(), exp.Lower) else "upper"
        return Alternative(obstacle=f"column is wrapped in {function}()", mentions=(column,), function=function)

    def found_by(self, node: Node, columns: tuple[str, ...], operator: Operator, *values: Node) -> Alternative:
        """An index on the columns is searched for the values, if they are the same for all rows."""
        if any(map(self.list_columns, values)):
            return self.build_blocked(node, "compares columns of the same row")
        if any(map(is_volatile, values)):
            return self.build_blocked(node, "compared with a volatile function")
        if any(value.find(exp.Collate) for value in values):
            raise _Unclear
        if operator == "=":
            self.note_search(columns, *(values or (None,)))
        elif operator == "pattern":
            self.note_search(columns, None)
        types = {value_type(value) for value in values} - {""}
        number = sum(len(self.find_places(each)) or 1 for each in values) if len(columns) == 1 else 1
        searches = tuple(Search(column, operator, min(types, default=""), values=max(number, 1)) for column in columns)
        return Alternative(searches, is_doubtful=any(map(may_change, values)))

    def read_hidden(self, node: Node, is_for_values: bool, side: Node) -> Alternative:
        """A condition on what is made of a column; for given values, whose rows are few, another index helps."""
        obstacle, helper = self.find_wrapping(node)
        if not is_for_values:
            return self.build_blocked(node, obstacle)
        expression = read_expression(side, self.find_places) if helper == "expression" else None
        if expression is None and side.find(exp.TimestampTrunc):  # Of years there are few.
            helper = ""
        return replace(self.build_blocked(node, obstacle, helper), expression=expression)

    def build_blocked(self, node: Node, obstacle: str, helper: Helper = "") -> Alternative:
        return Alternative(obstacle=obstacle, mentions=self.list_columns(node), helper=helper)

    def find_wrapping(self, node: Node) -> tuple[str, Helper]:
        """Why the first column of the table in a condition is not searched by an index, and by what it could be."""
        column = next(each for each in outside_of_queries(node) if self.is_own(each))
        if isinstance(
            enclosing_node(column), (exp.EQ, exp.NEQ, *_RANGES)
        ):  # `(a = 1) = true` is `a = 1` to the planner.
            raise _Unclear
        return describe_wrapping(column, node)

    def list_plain(self, node: Node | None) -> tuple[str, ...]:
        """The columns of the table that stand here by themselves, one or a row of them."""
        if node is None:
            return ()
        node = node.unnest()
        is_row = isinstance(node, exp.Tuple) or (isinstance(node, exp.Anonymous) and function_name(node) == "row")
        each = node.expressions if is_row else [node]
        return tuple(column.name for column in each) if all(map(self.is_own, each)) else ()

    def list_columns(self, node: Node) -> tuple[str, ...]:
        """The columns of the table in a condition."""
        return tuple(dict.fromkeys(each.name for each in outside_of_queries(node) if self.is_own(each)))

    def is_own(self, node: Node) -> bool:
        if not isinstance(node, exp.Column) or _is_value(node):
            return False
        return node.table == self.owner if node.table else self.is_alone

    def is_about_others(self, node: Node) -> bool:
        """It has a column of another table, or a subquery that has one of ours."""
        if node.find(exp.Exists) or any(map(_is_of_a_query, node.find_all(exp.In, exp.Any))):
            return True
        if any(
            isinstance(each, exp.Column) and not _is_value(each) and not self.is_own(each)
            for each in outside_of_queries(node)
        ):
            return True
        return any(
            column.table == self.owner for query in node.find_all(exp.Query) for column in query.find_all(exp.Column)
        )


_JUDGES: tuple[tuple[Any, Callable[[_Reader, Node], Alternative]], ...] = (
    (exp.And, _Reader.read_conjunction),
    (exp.Not, _Reader.read_negation),
    (exp.Column, _Reader.read_boolean),
    (exp.NEQ, _Reader.read_inequality),
    ((exp.NullSafeEQ, exp.NullSafeNEQ), _Reader.read_distinction),
    ((exp.EQ, *_RANGES), _Reader.read_comparison),
    ((exp.In, exp.Is), _Reader.read_membership),
    (exp.Between, _Reader.read_interval),
    ((exp.ILike, exp.RegexpILike), _Reader.free_pattern),
    ((exp.Like, exp.SimilarTo, exp.RegexpLike, exp.StartsWith), _Reader.read_pattern),
    (exp.Escape, _Reader.read_escaped),
)


def _as_test(found: Alternative) -> Alternative:
    return replace(found, searches=tuple(replace(search, is_test=True) for search in found.searches))


def _is_never(node: Node) -> bool:
    """No row meets it: FALSE, or a literal that IS NULL, as an optional condition is written."""
    if isinstance(node, exp.Boolean):
        return not node.this
    return (
        isinstance(node, exp.Is)
        and isinstance(node.expression, exp.Null)
        and not node.args.get("negate")
        and isinstance(node.this.unnest(), exp.Literal)
    )


def _has_no_wildcard(node: Node) -> bool:
    """It is an ILIKE with a pattern that is a value."""
    pattern = node.expression.unnest().name
    return isinstance(node, exp.ILike) and stand_in_number(pattern) is not None and not pattern.endswith("%")


def _holds_truth(values: set[int | bool], wanted: bool) -> bool:
    """A truth value is among them; a place may be equal to it."""
    return any(each is wanted for each in values)


def _is_of_a_query(node: Node) -> bool:
    """`IN (SELECT ...)` is a join: for many values the whole table is rightly read, for few the other side may lead."""
    return any(isinstance(each, exp.Query) for each in node.walk())


#: What a query may have that is still all of one table, with or without conditions.
_OF_ONE_TABLE = frozenset({"expressions", "from", "from_", "where", "distinct", "order", "kind", "hint"})


def _find_query(node: Node) -> exp.Select | None:
    """The query of `x IN (SELECT ...)`, `x = ANY (SELECT ...)` or `EXISTS (SELECT ...)`."""
    found: Any = None
    if isinstance(node, exp.Exists):
        found = node.this
    elif isinstance(node, exp.In):
        found = node.args.get("query")
    elif isinstance(node, exp.EQ) and isinstance(node.expression, exp.Any):
        found = node.expression.this
    while isinstance(found, (exp.Subquery, exp.Paren)):
        found = found.this
    return found if isinstance(found, exp.Select) else None


def _only_table(query: exp.Select) -> exp.Table | None:
    """The one table that a query reads all of, or what its conditions leave."""
    if any(value for key, value in query.args.items() if key not in _OF_ONE_TABLE):
        return None
    source = query.args.get("from_") or query.args.get("from")
    table = source.this if source is not None else None
    is_plain = isinstance(table, exp.Table) and isinstance(table.this, exp.Identifier) and not table.args.get("joins")
    return table if is_plain else None


def _has_owner(node: Node, owner: str) -> bool:
    """It names columns of this owner and of no other."""
    owners = {column.table for column in node.find_all(exp.Column) if not _is_value(column)}
    return owners == {owner}


def list_sides(node: Node, connector: type[exp.Connector]) -> Iterator[Node]:
    """What is tied together by AND, or by OR. No recursion: chains of thousands occur."""
    waiting = [node]
    while waiting:
        node = waiting.pop().unnest()
        if isinstance(node, connector):
            waiting += [node.expression, node.this]
        else:
            yield node


def _is_value(column: exp.Column) -> bool:
    return not column.table and not column.this.args.get("quoted") and column.name in _NOT_COLUMNS
