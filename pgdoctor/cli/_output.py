"""How an answer is written: as wide as the terminal, in colours where wanted, in whatever encoding there is."""

import codecs
import os
import shutil
import sys
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import click

from pgdoctor.errors import PgdoctorError, Unreachable
from pgdoctor.render.live.cells import Span

F = TypeVar("F", bound=Callable[..., Any])

_NAME = "pgdoctor.readable"

#: What stands for our own characters in an encoding without them, one cell for one.
_INSTEAD = str.maketrans("→←│└├─…×·“”—⋮", '><|`|-~x-""-:')

#: By style of a line, as click has it.
_COLOURS: dict[str, dict[str, Any]] = {
    "bad": {"fg": "red", "bold": True},
    "warn": {"fg": "yellow"},
    "good": {"fg": "green"},
    "bold": {"bold": True},
    "dim": {"dim": True},
}


def wide_option(function: F) -> F:
    """`--wide`: no line is wrapped or cut, on a terminal too."""
    return click.option("--wide", is_flag=True, help="Do not wrap or cut lines, as in a pipe or a file.")(function)


def screen_width(*, wide: bool = False) -> int | None:
    """The columns to lay out for; None where nothing is to be wrapped or cut: in a pipe or a file, or if so asked."""
    return None if wide or not sys.stdout.isatty() else shutil.get_terminal_size().columns


def write_lines(lines: Iterable[Span], *, err: bool = False) -> None:
    """Write lines to stdout, or stderr, in colours on a terminal; NO_COLOR and TERM=dumb are respected."""
    stream = sys.stderr if err else sys.stdout
    is_coloured = stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM", "") not in ("", "dumb")
    for line in lines:
        style = _COLOURS.get(line.style) if is_coloured else None
        click.echo(click.style(line.text, **style) if style and line.text else line.text, err=err)


def format_error(error: PgdoctorError) -> str:
    """The error in one line, with what to do where no connection could be made."""
    if not isinstance(error, Unreachable):
        return str(error)
    from pgdoctor.render.unreachable import what_to_do

    return f"{error}. {what_to_do(error.state)}"


def write_json(body: bytes) -> None:
    """Write one JSON object and the end of its line, in UTF-8 as JSON is, whatever the encoding of stdout."""
    if hasattr(sys.stdout, "buffer"):
        click.echo(body)
    else:
        click.echo(body.decode())


def accept_any_encoding() -> None:
    """Let no character end a command: what stdout and stderr cannot write is replaced."""
    codecs.register_error(_NAME, _replace_unencodable)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=_NAME)


def _replace_unencodable(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    shown = error.object[error.start : error.end].translate(_INSTEAD)
    return "".join(character if character.isascii() else "?" for character in shown), error.end
