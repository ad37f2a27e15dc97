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
_TEXTS = frozenset({"text", "character varying"})
_OF_TEXT = _NUMBERS | _TEXTS | {"uuid"}

#: The casts of a column of a type that an index takes.
_LASTING_CASTS: dict[str, frozenset[str]] = {
    **dict.fromkeys(("int2", "int4", "int8", "numeric"), _NUMBERS | _TEXTS),
    **dict.fromkeys(TEXTS, _OF_TEXT),
    "uuid": _TEXTS,
    "bool": _TEXTS | {"integer"},
    "timestamp": frozenset({"date"}),
}

#: Two characters at least: of a stored statement there is left one.
_NAME_OF_FIELD = re.compile(r"[A-Za-z_]{2,63}")
_PATH_OF_FIELD = re.compile(r"\{[A-Za-z_]{1,63}(,[A-Za-z_]{1,63}){0,9}\}")

#: Units of date_trunc that leave a column many values.
_SHORT_UNITS = frozenset({"second", "minute", "hour", "day", "week"})


def write_key(expression: Expression, table: IndexedTable, text: str) -> str:
    """The key, in the brackets that an expression needs; empty where no index can be on it."""
    column = table.columns.get(expression.column)
    if column is None:
        return ""
    if expression.function:
        unit = find_unit(expression, text)
        is_lasting = column.type == "timestamp" and unit
        return f"date_trunc('{unit}', {column.quoted})" if is_lasting else ""
    written = column.quoted
    for number, (operator, place) in enumerate(zip(expression.operators, expression.keys, strict=True)):
        written = f"({written})" if number else written
        written = f"{written} {operator} {_name_of_field(text, place, is_path=operator == '#>')}"
    if expression.cast:
        lasting = _OF_TEXT if expression.operators else _LASTING_CASTS.get(column.type, frozenset())
        if expression.cast not in lasting:
            return ""
        written = f"({written})::{expression.cast}" if expression.operators else f"{written}::{expression.cast}"
    return f"({written})"


def is_day_of(expression: Expression, table: IndexedTable) -> bool:
    """It is the day or the like of a moment, which depends on the session's time zone."""
    column = table.columns.get(expression.column)
    is_part = expression.cast == "date" or bool(expression.function)
    return column is not None and column.type == "timestamptz" and is_part


def find_unit(expression: Expression, text: str) -> str:
    """The unit of date_trunc, where it leaves the column many values."""
    unit = (read_literal(text, expression.keys[0]) or "").lower()
    return unit if unit in _SHORT_UNITS else ""


def _name_of_field(text: str, place: int, *, is_path: bool) -> str:
    name = read_literal(text, place) or ""
    if is_path and _NAME_OF_FIELD.fullmatch(name):
        return f"'{{{name}}}'"
    return f"'{name}'" if _NAME_OF_FIELD.fullmatch(name) or _PATH_OF_FIELD.fullmatch(name) else "?"
