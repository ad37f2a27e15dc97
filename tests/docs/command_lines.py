"""The command lines of README and manual: what stands in their blocks of shell code."""

import os
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import click
import yaml

from pgdoctor.cli import cli
from tests.docs.generating import CHECKOUT

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_OPERATORS = {"|", "||", "&&", ";", "&"}

#: What stands for something of the reader's own, and something that a parser takes for it.
PLACEHOLDERS = {"PID": "4711", "ID": "d1", "FILE": "file", "FILE.sql": "file.sql"}


class Block(NamedTuple):
    """One block of code, `place` saying where it stands."""

    place: str
    language: str
    text: str

    @property
    def lines(self) -> list[str]:
        return self.text.splitlines()


def blocks(file: Path, *languages: str) -> Iterator[Block]:
    """The blocks of code of a page in these languages."""
    text = file.read_text(encoding="utf-8")
    for match in _BLOCK.finditer(text):
        if match[1] in languages:
            line = text.count("\n", 0, match.start()) + 1
            yield Block(f"{file.name}:{line}", match[1], match[2])


def commands(line: str) -> list[list[str]]:
    """The words of each command of a line, without comments and redirections."""
    reader = shlex.shlex(line, posix=True, punctuation_chars=True)
    reader.whitespace_split = True
    found: list[list[str]] = [[]]
    for word in (words := iter(reader)):
        if word in _OPERATORS:
            found.append([])
        elif word in {">", "<", ">>"}:
            next(words)
        else:
            found[-1].append(word)
    return [each for each in found if each]


def has_placeholder(line: str) -> bool:
    """Whether a line can only be run with something of the reader's own in it."""
    return any(word in PLACEHOLDERS for command in commands(line) for word in command)


def check(command: Sequence[str]) -> None:
    """Raise where a command cannot be meant as it stands: unknown program, option, target, module or file."""
    program, *arguments = command
    CHECKS.get(program, partial(_check_script, program))(arguments)


def check_pgdoctor(arguments: Sequence[str]) -> None:
    """As click parses it, down to the last subcommand; nothing is run."""
    command: click.Command = cli
    context, rest = None, [PLACEHOLDERS.get(word, word) for word in arguments]
    while True:
        context = command.make_context("pgdoctor", rest, parent=context)
        rest = [*context._protected_args, *context.args]
        if not (isinstance(command, click.Group) and rest):
            return
        _, subcommand, rest = command.resolve_command(context, rest)
        assert subcommand is not None
        command = subcommand


def _check_make(arguments: Sequence[str]) -> None:
    makefile = (CHECKOUT / "Makefile").read_text(encoding="utf-8")
    target, *_ = arguments
    assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"no target {target}"


def _check_python(arguments: Sequence[str]) -> None:
    assert arguments[0] == "-m"
    assert find_spec(arguments[1]), f"no module {arguments[1]}"


def _check_files(arguments: Sequence[str]) -> None:
    """Files that are named by -f are there; so are profiles of a compose file."""
    files = [value for option, value in pairwise(arguments) if option == "-f"]
    assert [file for file in files if not (CHECKOUT / file).is_file()] == []
    if "--profile" in arguments:
        services = yaml.safe_load((CHECKOUT / files[0]).read_text(encoding="utf-8"))["services"]
        profile = arguments[arguments.index("--profile") + 1]
        assert profile in {each for service in services.values() for each in service.get("profiles", ())}


def _check_script(program: str, _: Sequence[str]) -> None:
    """A script of the checkout that may be executed."""
    assert os.access(CHECKOUT / program, os.X_OK), f"no script {program}"


def _know(_: Sequence[str]) -> None:
    """A program of the system."""


CHECKS: Mapping[str, Callable[[Sequence[str]], None]] = {
    "pgdoctor": check_pgdoctor,
    "make": _check_make,
    ".venv/bin/python": _check_python,
    "docker": _check_files,
    "kubectl": _check_files,
    **dict.fromkeys(("psql", "curl", "pip", "export", "ssh-keygen"), _know),
}
