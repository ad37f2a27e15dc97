"""A statement written again for the planner: its tables, joins, conditions and order, and no word of its own else.

Each value is a parameter, each alias ours; names are those of columns, which the catalog has to confirm. Parts that
are not understood are left out; `is_whole` says so.
"""

import msgspec

from pgdoctor.sqltext.conditions import write_without_literals
from pgdoctor.sqltext.statement import most_telling_reading

_KINDS = frozenset({"select", "select_for_update", "insert", "update", "delete", "merge"})


class ShapeTable(msgspec.Struct, frozen=True):
    """A table as the statement names it, and the alias that it has in the text."""

    name: str
    alias: str


class StatementShape(msgspec.Struct, frozen=True):
    """`pieces`: the text, in which the number of a table stands in the place of its name."""

    tables: tuple[ShapeTable, ...]
    pieces: tuple[str | int, ...]
    columns: frozenset[str]
    parameters: int
    is_whole: bool


def read_shape(text: str) -> StatementShape | None:
    """The shape of a complete statement that searches; None where it cannot be written. Never raises."""
    reading = most_telling_reading(text)
    if reading is None or reading[1].form.kind not in _KINDS:
        return None
    plain = write_without_literals(reading[0].tokens)
    if plain is None:
        return None
    # 9 to 31 MB of memory, which an agent that asks no planner must not pay.
    from pgdoctor.sqltext import shape_writer

    return shape_writer.write_shape(plain)
