"""What a column is compared with: its type, and whether it is the same for all rows. Needs sqlglot, as `where`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from sqlglot import exp

from pgdoctor.sqltext.column_expressions import function_name
from pgdoctor.sqltext.lexer import word_set

if TYPE_CHECKING:
    from sqlglot.expressions import Expr as Node

#: Functions whose value differs from row to row, so that no index can be searched for it.
_VOLATILE = word_set("random clock_timestamp timeofday nextval gen_random_uuid uuidv4 uuidv7 pg_sleep")

#: Functions that sqlglot does not know, but we do: their value is the same for all rows. Of any other that is not
#: known: a function of one's own is volatile unless it says otherwise.
_STEADY = word_set(
    "current_setting age statement_timestamp transaction_timestamp timezone quote_literal row int4range int8range "
    "numrange daterange tsrange tstzrange jsonb_build_object jsonb_build_array to_jsonb to_json hashtext to_tsquery "
    "plainto_tsquery phraseto_tsquery websearch_to_tsquery pg_backend_pid inet_client_addr current_database upper lower"
)


_VALUE_TYPES = {
    exp.DataType.Type.DECIMAL: "numeric",
    exp.DataType.Type.DOUBLE: "float",
    exp.DataType.Type.FLOAT: "float",
    exp.DataType.Type.TEXT: "text",
    exp.DataType.Type.VARCHAR: "text",
}

#: Functions inside of each other; some operators are functions to sqlglot.
_MOST_DEPTH = 16


class TooDeep(Exception):
    """The value has too many functions inside of each other."""


def is_volatile(value: Node) -> bool:
    """It differs from row to row."""
    return any(function_name(each) in _VOLATILE for each in _list_called(value))


def may_change(value: Node) -> bool:
    """It calls what is not known not to change."""
    return any(isinstance(each, exp.Anonymous) and function_name(each) not in _STEADY for each in _list_called(value))


def value_type(node: Node) -> str:
    """The type that the text gives to a value, if it is one that makes the server cast a column."""
    node = node.unnest()
    while isinstance(node, exp.Neg):
        node = node.this.unnest()
    if isinstance(node, exp.Literal) and not node.is_string and "." in node.name:
        return "numeric"
    return _VALUE_TYPES.get(node.to.this, "") if isinstance(node, exp.Cast) else ""


def outside_of_queries(node: Node) -> Iterator[Node]:
    return node.walk(prune=lambda each: isinstance(each, exp.Query))


def _list_called(value: Node) -> list[Node]:
    """The functions that are called for each row: a query inside of it is run once.

    Raises TooDeep: to find the name of one costs time in proportion to all that is inside of it.
    """
    found = []
    depths: dict[int, int] = {}
    for each in outside_of_queries(value):
        is_function = isinstance(each, exp.Func)
        depth = depths[id(each)] = depths.get(id(each.parent), 0) + is_function
        if depth > _MOST_DEPTH:
            raise TooDeep
        if is_function:
            found.append(each)
    return found
