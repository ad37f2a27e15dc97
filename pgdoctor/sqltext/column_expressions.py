"""What a column stands inside of in a condition, so that no plain index is searched for it. Needs sqlglot, as `where`.

In doubt, whether the rows of one value of it are few, no index is said to help.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sqlglot import exp

from pgdoctor.sqltext.conditions import Expression, Helper
from pgdoctor.sqltext.lexer import word_set

if TYPE_CHECKING:
    from sqlglot.expressions import Expr as Node

_JSON_FIELDS = (exp.JSONExtract, exp.JSONExtractScalar, exp.JSONBExtract, exp.JSONBExtractScalar)

#: What a column may be inside of, the narrower class first (some operators are functions to sqlglot), and the index
#: that would find the rows of one value of it.
_WRAPPERS: tuple[tuple[Any, str, Helper], ...] = (
    (exp.Cast, "cast of the column", "expression"),
    (exp.Collate, "another collation than the column's", ""),
    (exp.AtTimeZone, "time zone conversion of the column", "expression"),
    (_JSON_FIELDS, "field of a JSON column", "expression"),
    (exp.Bracket, "element of the column", "expression"),
    (exp.Any, "search inside of an array column", "element"),
    (exp.Mod, "calculation with the column", ""),
    ((exp.Add, exp.Sub, exp.Mul, exp.Div, exp.DPipe, exp.Neg), "calculation with the column", "expression"),
    ((exp.ArrayContainsAll, exp.ArrayOverlaps), "an operator that no btree serves", "gin"),
    ((exp.Binary, exp.MatchAgainst), "an operator that no btree serves", ""),
)

#: Functions of the server's own that have about as many values as their column.
_TELLING = word_set(
    "coalesce nullif abs md5 trim btrim ltrim rtrim lower upper replace regexp_replace concat initcap reverse lpad "
    "rpad date date_trunc json_extract_path_text jsonb_extract_path_text"
)


def describe_wrapping(column: Node, condition: Node) -> tuple[str, Helper]:
    """What is around a column of the condition, in words, and the index that would find the rows of one value of it."""
    outer = enclosing_node(column)
    obstacle, helper = _judge_expression(outer)
    while helper == "expression" and outer is not None and (outer := enclosing_node(outer)) is not condition:
        _, helper = _judge_expression(outer)  # `extract(year from ts::date)` has few values, whatever is inside of it.
    return obstacle, helper


_OPERATORS: dict[type[Any], str] = {
    exp.JSONExtract: "->",
    exp.JSONExtractScalar: "->>",
    exp.JSONBExtractScalar: "#>>",
    exp.JSONBExtract: "#>",
}

#: Types of casts, as a statement names them.
_CASTS = {
    exp.DataType.Type.SMALLINT: "smallint",
    exp.DataType.Type.INT: "integer",
    exp.DataType.Type.BIGINT: "bigint",
    exp.DataType.Type.DECIMAL: "numeric",
    exp.DataType.Type.DOUBLE: "double precision",
    exp.DataType.Type.TEXT: "text",
    exp.DataType.Type.VARCHAR: "character varying",
    exp.DataType.Type.UUID: "uuid",
    exp.DataType.Type.DATE: "date",
}


def read_expression(side: Node, find_places: Callable[[Node], tuple[int, ...]]) -> Expression | None:
    """What one side of a comparison makes of its column; None where that is anything but JSON fields and a cast.

    `date()` is a cast, too.
    """
    node, cast = side.unnest(), ""
    if isinstance(node, exp.Cast) and node.to.this is exp.DataType.Type.JSONB:  # A field is one already.
        node = node.this.unnest()
    if isinstance(node, exp.TimestampTrunc):
        return _read_truncation(node, find_places)
    if isinstance(node, exp.Date) and not node.expressions and isinstance(node.this, exp.Column):
        return Expression(node.this.name, cast="date")
    if isinstance(node, exp.Cast):
        cast = "" if node.to.expressions else _CASTS.get(node.to.this, "")
        if not cast:
            return None
        node = node.this.unnest()
    operators: list[str] = []
    keys: list[int] = []
    while isinstance(node, tuple(_OPERATORS)):
        places = find_places(_find_key(node.expression))
        if len(places) != 1 or places[0] < 0:
            return None
        operators.insert(0, _OPERATORS[type(node)])
        keys.insert(0, places[0])
        node = node.this.unnest()
    if not isinstance(node, exp.Column) or not (cast or operators) or operators[-1:] == ["->"]:
        return None
    return Expression(node.name, tuple(operators), tuple(keys), cast)


def _read_truncation(node: Node, find_places: Callable[[Node], tuple[int, ...]]) -> Expression | None:
    unit = node.args.get("unit")
    places = find_places(exp.Literal.string(unit.name.lower())) if unit is not None else ()
    is_plain = isinstance(node.this, exp.Column) and not node.args.get("zone")
    if not is_plain or len(places) != 1 or places[0] < 0:
        return None
    return Expression(node.this.name, keys=places, function="date_trunc")


def _find_key(path: Node) -> Node:
    """The literal that a JSON operator is applied with; other paths stay as they are."""
    if isinstance(path, exp.Cast):  # array['field']::text[]
        array = path.this.unnest()
        names = array.expressions if isinstance(array, exp.Array) else []
        return names[0] if len(names) == 1 else path
    parts = path.expressions if isinstance(path, exp.JSONPath) else []
    is_key = len(parts) == 2 and isinstance(parts[1], exp.JSONPathKey)  # The root, and the key.
    return exp.Literal.string(parts[1].name) if is_key else path


def enclosing_node(node: Node) -> Node | None:
    """What a node stands in, brackets left out."""
    outer = node.parent
    while isinstance(outer, exp.Paren):
        outer = outer.parent
    return outer


def _judge_expression(outer: Node | None) -> tuple[str, Helper]:
    for kinds, obstacle, helper in _WRAPPERS:
        if isinstance(outer, kinds):
            return obstacle, helper
    if isinstance(outer, exp.Func) and (name := function_name(outer)).isidentifier():
        return f"column is wrapped in {name}()", "expression" if name in _TELLING else ""
    return "the column is part of an expression", ""


def function_name(node: Node) -> str:
    """The name of a function as Postgres has it."""
    if isinstance(node, exp.Anonymous):
        return str(node.name).lower()
    return node.sql(dialect="postgres").partition("(")[0].lower()
