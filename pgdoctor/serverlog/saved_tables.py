"""Rows of `pg_locks`, `pg_stat_activity` and of the documented blocking-lock query, as people save them.

psql's tables (aligned, with or without border, expanded), CSV with a header, and JSON are read.
"""

import csv
import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import msgspec

#: Bytes of a text with rows, and rows that are read.
MOST_BYTES = 64 << 20
MOST_ROWS = 200_000

Row = dict[str, str | None]

_LOCKS = frozenset({"pid", "mode", "granted"})
_ACTIVITY = (frozenset({"pid", "state"}), frozenset({"pid", "query"}))
_PAIRS = frozenset({"blocked_pid", "blocking_pid"})

_LINE = re.compile(r"[|+]?-{2,}[-+]*[|+]?")
_RECORD = re.compile(r"[-*+|]*\[ RECORD \d+ \][-+|]*|\* Record \d+|-\[ RECORD \d+ \].*")
_BOX = str.maketrans({**dict.fromkeys("│║", "|"), **dict.fromkeys("─═", "-"), **dict.fromkeys("┼├┤┌┐└┘┬┴╪╫╬╞╡", "+")})
_SEPARATORS = ",;\t|"


class Table(msgspec.Struct, frozen=True):
    """Rows of one kind: `locks`, `activity`, `both` (a join) or `pairs` (the documented query)."""

    kind: str
    columns: frozenset[str]
    rows: tuple[Row, ...]


def find_tables(text: str) -> tuple[Table, ...]:
    """The tables of a text that are of one of the kinds; none where there are none."""
    stripped = text.lstrip("\ufeff \r\n\t")
    if stripped.startswith(("{", "[")):
        found = [_read_json(stripped)]
    else:
        found = list(_read_psql(text))
        if not any(map(_kind_of, map(_list_columns, found))):
            found = [_read_csv(stripped)]
    tables = ((_kind_of(_list_columns(rows)), _list_columns(rows), rows) for rows in found)
    return tuple(Table(kind, columns, tuple(rows[:MOST_ROWS])) for kind, columns, rows in tables if kind)


def _list_columns(rows: Sequence[Row]) -> frozenset[str]:
    return frozenset(rows[0]) if rows else frozenset()


def _kind_of(columns: frozenset[str]) -> str:
    if columns >= _PAIRS:
        return "pairs"
    is_activity = any(columns >= each for each in _ACTIVITY)
    if columns >= _LOCKS:
        return "both" if is_activity else "locks"
    return "activity" if is_activity else ""


def _read_json(text: str) -> list[Row]:
    """An array of objects, one that an object holds, or an object a line."""
    try:
        found = msgspec.json.decode(text)
    except (msgspec.MsgspecError, RecursionError):
        found = [each for line in text.splitlines()[:MOST_ROWS] if (each := _decode_object(line)) is not None]
    if isinstance(found, dict):
        inner = [each for each in found.values() if isinstance(each, list)]
        found = inner[0] if inner else [found]
    if not isinstance(found, list):
        return []
    rows = [each for each in found if isinstance(each, dict)]
    names = dict.fromkeys(str(name) for row in rows[:100] for name in row)
    return [{name: _format_value(row.get(name)) for name in names} for row in rows]


def _decode_object(line: str) -> Any:
    try:
        return msgspec.json.decode(line)
    except (msgspec.MsgspecError, RecursionError):
        return None


def _format_value(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool):
        return "t" if value else "f"
    return value if isinstance(value, str) else str(value)


def _read_csv(text: str) -> list[Row]:
    first = text.partition("\n")[0]
    separator = max(_SEPARATORS, key=first.count)
    try:
        lines = list(csv.reader(text[:MOST_BYTES].splitlines(keepends=True), delimiter=separator))
    except csv.Error:
        return []
    if not lines:
        return []
    names = [name.strip().casefold() for name in lines[0]]
    return [
        {name: cell.strip() or None for name, cell in zip(names, line, strict=True)}
        for line in lines[1:]
        if len(line) == len(names)
    ]


def _read_psql(text: str) -> Iterator[list[Row]]:
    """Each table that psql has drawn in a text."""
    lines = [line.translate(_BOX) if not line.isascii() else line for line in text.splitlines()]
    if any(_RECORD.fullmatch(line) for line in lines):
        # A record of other columns is one of another table.
        yield from (list(rows) for _, rows in groupby(_read_expanded(lines), key=frozenset))
        return
    for place in range(1, len(lines)):
        if _LINE.fullmatch(lines[place].strip()) and "+" in lines[place] and "|" in lines[place - 1]:
            yield list(_read_aligned(lines[place - 1], lines[place], lines[place + 1 :]))


def _read_expanded(lines: Sequence[str]) -> Iterator[Row]:
    row: Row = {}
    name = ""
    for line in lines:
        if _RECORD.fullmatch(line):
            if row:
                yield row
            row, name = {}, ""
            continue
        key, bar, value = (
            line.strip("| ").partition("|") if not line.startswith(" ") else ("", "|", line.partition("|")[2])
        )
        if not bar:
            continue
        name = key.strip().casefold() or name
        part = value.strip().removesuffix("+").rstrip()
        row[name] = f"{row[name]}\n{part}" if not key.strip() and row.get(name) else part or None
    if row:
        yield row


def _read_aligned(head: str, line: str, lines: Sequence[str]) -> Iterator[Row]:
    """A table whose columns end where the line below its head has a plus."""
    ends = [place for place, character in enumerate(line) if character == "+"]
    if line[:1] == "+":
        ends = ends[1:-1] if line.rstrip().endswith("+") else ends[1:]
        begin = 1
    else:
        begin = 0
    names = [name.strip().casefold() for name in _split_cells(head, begin, ends) or []]
    cells: list[str] = []
    goes_on = False
    for text in lines:
        if "|" not in text:
            break
        found = _split_cells(text, begin, ends)
        if found is None or len(found) != len(names):
            continue
        continued = [cell.rstrip().endswith("+") for cell in found]
        parts = [cell.rstrip().removesuffix("+") if more else cell for cell, more in zip(found, continued, strict=True)]
        if goes_on:
            cells = [
                f"{one}\n{other.rstrip()}" if other.strip() else one for one, other in zip(cells, parts, strict=True)
            ]
        else:
            if cells:
                yield _build_row(names, cells)
            cells = parts
        goes_on = any(continued)
    if cells:
        yield _build_row(names, cells)


def _split_cells(text: str, begin: int, ends: Sequence[int]) -> list[str] | None:
    """The cells of a line: by place, or where wide characters have moved them, by its bars."""
    if all(text[end : end + 1] == "|" for end in ends):
        starts = [begin, *(end + 1 for end in ends)]
        cells = [text[start:end] for start, end in zip(starts, [*ends, len(text)], strict=True)]
    else:
        cells = text.strip("|").split("|") if begin else text.split("|")
        if len(cells) != len(ends) + 1:
            return None
    cells[-1] = cells[-1].rstrip().removesuffix("|") if begin else cells[-1]
    return cells


def _build_row(names: Sequence[str], cells: Sequence[str]) -> Row:
    return {name: cell.strip() or None for name, cell in zip(names, cells, strict=True)}
