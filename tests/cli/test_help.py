"""The help of every command: whole lines on the list, and plain words."""

import re
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from pgdoctor.cli import cli

#: Words that house English does not use for standard terms.
METAPHORS = re.compile(
    r"\b(whoever|whomever|nobody's|somebody is hurt|in peace|makes room|dear|told on)\b", re.IGNORECASE
)


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command with the words that call it, the group itself first."""
    yield path, group
    with click.Context(group) as context:
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            assert command is not None
            if isinstance(command, click.Group):
                yield from commands(command, (*path, name))
            else:
                yield (*path, name), command


ALL = [words for words, _ in commands(cli)]


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_help_cuts_no_line_and_uses_plain_words(words: tuple[str, ...]) -> None:
    """Click ends a description that does not fit with three dots."""
    shown = CliRunner().invoke(cli, [*words, "--help"], terminal_width=80)
    assert shown.exit_code == 0
    assert not re.search(r"\w\.\.\.$", shown.output, re.MULTILINE), shown.output
    assert not METAPHORS.search(shown.output), METAPHORS.search(shown.output)


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_description_of_a_command_is_one_short_sentence(words: tuple[str, ...]) -> None:
    command = dict(commands(cli))[words]
    first = (command.help or "").split("\n")[0]
    assert first.endswith(".")
    assert len(first) <= 90
    assert len(first.split()) <= 15
