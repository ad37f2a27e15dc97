"""Manual pages for `man`, one a command, made from its help: `python -m pgdoctor.cli._man_pages DIRECTORY`."""

import sys
from collections.abc import Iterator, Sequence
from inspect import cleandoc
from pathlib import Path

import click

from pgdoctor import __version__
from pgdoctor.cli import cli

_EXIT_STATUS = (
    ("0", "The command ran."),
    ("1", "A session is blocked, or another condition of the option that requests this status."),
    ("2", "Wrong usage or configuration."),
    ("3", "The server could not be queried, or pgdoctor itself failed."),
)


def man_pages() -> Iterator[tuple[str, str]]:
    """The name of each file, and its text in the macros of man(7)."""
    with click.Context(cli, info_name="pgdoctor") as context:
        yield from _write_pages(cli, context)


def _write_pages(command: click.Command, context: click.Context) -> Iterator[tuple[str, str]]:
    name = context.command_path.replace(" ", "-")
    yield f"{name}.1", "\n".join(_format_page(name, command, context)) + "\n"
    for word, child in _list_children(command, context):
        with click.Context(child, info_name=word, parent=context) as inner:
            yield from _write_pages(child, inner)


def _list_children(command: click.Command, context: click.Context) -> list[tuple[str, click.Command]]:
    if not isinstance(command, click.Group):
        return []
    found = ((word, command.get_command(context, word)) for word in command.list_commands(context))
    return [(word, child) for word, child in found if child is not None and not child.hidden]


def _format_page(name: str, command: click.Command, context: click.Context) -> Iterator[str]:
    yield f'.TH "{name.upper()}" "1" "" "pgdoctor {__version__}" "pgdoctor manual"'
    summary, _, rest = cleandoc(command.help or "").partition("\n")
    yield f".SH NAME\n{_escape_roff(name)} \\- {_escape_roff(summary.rstrip('.'))}"
    usage = _escape_roff(" ".join(command.collect_usage_pieces(context)))
    yield f".SH SYNOPSIS\n.B {_escape_roff(context.command_path)}\n{usage}"
    yield ".SH DESCRIPTION"
    for paragraph in (summary, *filter(None, (part.strip() for part in rest.split("\n\n")))):
        yield f".PP\n{_escape_roff(' '.join(paragraph.split()))}"
    yield from _format_rows("OPTIONS", _list_options(command, context))
    children = _list_children(command, context)
    yield from _format_rows("COMMANDS", [(word, child.get_short_help_str(200)) for word, child in children])
    yield from _format_rows("EXIT STATUS", _EXIT_STATUS)
    of_children = [f"{name}-{word}" for word, _ in children]
    above = name.rpartition("-")[0]
    related = ", ".join(f"\\fB{_escape_roff(each)}\\fR(1)" for each in ([above] if above else []) + of_children)
    yield f".SH SEE ALSO\n{related + '. ' if related else ''}{_escape_roff('pgdoctor explain prints the manual.')}"


def _list_options(command: click.Command, context: click.Context) -> list[tuple[str, str]]:
    records = (parameter.get_help_record(context) for parameter in command.get_params(context))
    return [record for record in records if record is not None]


def _format_rows(title: str, rows: Sequence[tuple[str, str]]) -> Iterator[str]:
    for place, (term, about) in enumerate(rows):
        if place == 0:
            yield f".SH {title}"
        yield f".TP\n\\fB{_escape_roff(term)}\\fR\n{_escape_roff(' '.join(about.split()))}"


def _escape_roff(words: str) -> str:
    """Words that roff shows as they are."""
    shown = words.replace("\\", "\\e").replace("-", "\\-")
    shown = "".join(character if character.isascii() else f"\\[u{ord(character):04X}]" for character in shown)
    return f"\\&{shown}" if shown.startswith((".", "'")) else shown


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for file, page in man_pages():
        (folder / file).write_text(page, encoding="utf-8")
