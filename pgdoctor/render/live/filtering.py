"""Rows that contain a text, and the rows above them in their tree."""

from collections.abc import Sequence
from typing import Protocol, TypeVar

from pgdoctor.render.wait_trees import Name


class ListedRow(Protocol):
    """A line of a list; `key` None: it cannot be chosen."""

    @property
    def key(self) -> Name:
        """The PID of its session, or the gid of its prepared transaction."""

    @property
    def pid(self) -> int | None:
        """None: it has no session."""

    @property
    def words(self) -> tuple[str, ...]:
        """Every text that a filter finds it by."""


Row = TypeVar("Row", bound=ListedRow)


def filter_rows(rows: Sequence[Row], text: str) -> tuple[Row, ...]:
    """The rows with that text in one of their words, in any case; all for an empty text.

    In a tree the sessions that they wait for stay too: each row above with a smaller depth.
    """
    wanted = text.casefold()
    if not wanted:
        return tuple(rows)
    found, depth = list[Row](), -1
    for row in reversed(rows):
        own_depth = getattr(row, "depth", 0)
        is_above = own_depth < depth
        if is_above or any(wanted in word.casefold() for word in row.words):
            found.append(row)
            depth = own_depth
    return tuple(reversed(found))
