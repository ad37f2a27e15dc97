"""Rows of statements as values of the model."""

from typing import Any, TypeVar

import msgspec

S = TypeVar("S", bound=msgspec.Struct)


def read_row(kind: type[S], row: Any, **others: object) -> S:
    """A struct of that kind from a named tuple: its fields are the columns of the same name, and `others`."""
    columns = {name: value for name, value in row._asdict().items() if name in kind.__struct_fields__}
    return kind(**{**columns, **others})
