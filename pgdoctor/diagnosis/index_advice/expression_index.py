"""The key of an index on an expression, as it stands in CREATE INDEX.

An index takes only what gives the same result for ever (IMMUTABLE). A key of a JSON object is a literal in the text but
the name of a field, and is shown if it consists of letters and underscores; everything else is shown as `?`.
Source: PostgreSQL documentation, "Indexes on Expressions"; pg_cast and pg_proc of 14 and 18.
"""

import re

from pgdoctor.diagnosis.index_advice.index_match import TEXTS, IndexedTable
from pgdoctor.sqltext.conditions import Expression
from pgdoctor.sqltext.lexer import read_literal

_NUMBERS = frozenset({"smallint", "integer", "bigint", "numeric", "double precision"})
_OF_TEXT = _NUMBERS | {"text", "uuid"}

#: The casts of a column of a type that an index takes.
_LASTING_CASTS: dict[str, frozenset[str]] = {
    **dict.fromkeys(("int2", "int4", "int8", "numeric"), _NUMBERS | {"text"}),
    **dict.fromkeys(TEXTS, _OF_TEXT),
    "uuid": frozenset({"text"}),
    "bool": frozenset({"text", "integer"}),
    "timestamp": frozenset({"date"}),
}

#: Two characters at least: of a stored statement there is left one.
_NAME_OF_FIELD = re.compile(r"[A-Za-z_]{2,63}")


def write_key(expression: Expression, table: IndexedTable, text: str) -> str:
    """The key, in the brackets that an expression needs; empty where no index can be on it."""
    column = table.columns.get(expression.column)
    if column is None:
        return ""
    written = column.quoted
    for number, (operator, place) in enumerate(zip(expression.operators, expression.keys, strict=True)):
        written = f"({written})" if number else written
        written = f"{written} {operator} {_name_of_field(text, place)}"
    if expression.cast:
        lasting = _OF_TEXT if expression.operators else _LASTING_CASTS.get(column.type, frozenset())
        if expression.cast not in lasting:
            return ""
        written = f"({written})::{expression.cast}" if expression.operators else f"{written}::{expression.cast}"
    return f"({written})"


def is_day_of(expression: Expression, table: IndexedTable) -> bool:
    """It is the day of a moment, which depends on the session's time zone."""
    column = table.columns.get(expression.column)
    return column is not None and column.type == "timestamptz" and expression.cast == "date"


def _name_of_field(text: str, place: int) -> str:
    name = read_literal(text, place) or ""
    return f"'{name}'" if _NAME_OF_FIELD.fullmatch(name) else "?"
