"""The part of a migration file that its tool runs to go forward, by the marks that the tool puts into comments."""

import re
from typing import NamedTuple


class _Marks(NamedTuple):
    """How a tool marks both parts, and what says that it opens no transaction of its own."""

    tool: str
    up: re.Pattern[str]
    down: re.Pattern[str]
    no_transaction: re.Pattern[str]


def _line(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"^[ \t]*--[ \t]*{pattern}", re.MULTILINE | re.IGNORECASE)


_TOOLS = (
    _Marks(
        "dbmate",
        _line(r"migrate:up\b"),
        _line(r"migrate:down\b"),
        _line(r"migrate:up\b.*\btransaction[ \t]*:[ \t]*false"),
    ),
    _Marks(
        "goose", _line(r"\+goose[ \t]+up\b"), _line(r"\+goose[ \t]+down\b"), _line(r"\+goose[ \t]+no[ \t]+transaction")
    ),
    _Marks(
        "sql-migrate",
        _line(r"\+migrate[ \t]+up\b"),
        _line(r"\+migrate[ \t]+down\b"),
        _line(r"\+migrate[ \t]+up\b.*\bnotransaction"),
    ),
)


class MigrationFile(NamedTuple):
    """`text`: what is run to go forward, with each line at its place. `tool`: empty where no marks are known."""

    text: str
    tool: str = ""
    has_transaction: bool = False
    #: The first line of what is left out; 0: nothing is.
    left_out: int = 0


def read_migration(text: str) -> MigrationFile:
    """The part to go forward. A file without both marks is taken as it is."""
    for marks in _TOOLS:
        up, down = marks.up.search(text), marks.down.search(text)
        if up is None:
            continue
        has_transaction = marks.no_transaction.search(text) is None
        if down is None:
            return MigrationFile(text, marks.tool, has_transaction)
        start, end = down.start(), up.start() if up.start() > down.start() else len(text)
        kept = text[:start] + "\n" * text.count("\n", start, end) + text[end:]
        return MigrationFile(kept, marks.tool, has_transaction, text.count("\n", 0, start) + 1)
    return MigrationFile(text)
