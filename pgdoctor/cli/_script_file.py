"""Reads the script of `pgdoctor preflight`: a file, standard input, or the statement itself."""

import sys
from pathlib import Path
from typing import NamedTuple

from pgdoctor.errors import UsageError
from pgdoctor.escape import escape_text

#: Bytes of a script; a longer one is data, not a migration.
MOST_BYTES = 16 << 20

_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_UTF_8 = b"\xef\xbb\xbf"


#: Statements that need no more than their first word.
_STATEMENTS_OF_A_WORD = frozenset({"analyse", "analyze", "checkpoint", "cluster", "vacuum"})


class ScriptText(NamedTuple):
    """A script, and what it is called. `is_file`: it has lines, and psql runs its statements one by one."""

    name: str
    text: str
    is_file: bool


def read_script(argument: str) -> ScriptText:
    """The script that is meant by an argument. Raises UsageError."""
    if argument == "-":
        return ScriptText("standard input", _decode("standard input", sys.stdin.buffer.read(MOST_BYTES + 1)), True)
    if _is_path(argument):
        return _read_file(argument)
    is_word = not any(character.isspace() or character in ";(" for character in argument)
    if argument.lower().endswith(".sql") or (is_word and argument.lower() not in _STATEMENTS_OF_A_WORD):
        raise UsageError(f"no file {escape_text(argument[:200])}, and it is not a statement")
    return ScriptText("the statement", _check("the statement", argument), False)


def _is_path(argument: str) -> bool:
    try:
        return Path(argument).exists()
    except (OSError, ValueError):
        return False


def _read_file(path: str) -> ScriptText:
    name = escape_text(path[:200])
    try:
        # Not a device or a pipe that never ends.
        if not Path(path).is_file():
            raise UsageError(f"{name} is not a file")
        if Path(path).stat().st_size > MOST_BYTES:
            raise UsageError(f"{name} is larger than {MOST_BYTES >> 20} MB: give the migration alone")
        body = Path(path).read_bytes()
    except OSError as error:
        raise UsageError(f"{name} cannot be read: {error.strerror}") from None
    return ScriptText(name, _decode(name, body), True)


def _decode(name: str, body: bytes) -> str:
    if len(body) > MOST_BYTES:
        raise UsageError(f"{name} is larger than {MOST_BYTES >> 20} MB: give the migration alone")
    if body.startswith(_UTF_16):
        raise UsageError(f"{name} is UTF-16: save it as UTF-8")
    try:
        text = body.removeprefix(_UTF_8).decode("utf-8")
    except UnicodeDecodeError as error:
        line = body.count(b"\n", 0, error.start) + 1
        raise UsageError(f"{name} is not UTF-8: line {line:,}, byte {error.start:,}") from None
    return _check(name, text)


def _check(name: str, text: str) -> str:
    place = text.find("\x00")
    if place >= 0:
        raise UsageError(f"{name} has a zero byte in line {text.count(chr(10), 0, place) + 1:,}: it is not SQL text")
    return text
