"""The command line: one file a command, found by its name; errors become one line and an exit status."""

import importlib
import os
import pkgutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from pgdoctor import __version__
from pgdoctor.cli._groups import Group, explain_option
from pgdoctor.cli._output import accept_any_encoding, format_error
from pgdoctor.errors import PgdoctorError, without_connection_string


class Commands(Group):
    """Commands are the modules of this package; only the one that is asked for is imported."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """The names of all commands, as typed."""
        return sorted(
            module.name.replace("_", "-")
            for module in pkgutil.iter_modules(__path__)
            if not module.name.startswith("_")
        )

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, or None."""
        if cmd_name not in self.list_commands(ctx):
            return None
        module = importlib.import_module(f"{__name__}.{cmd_name.replace('-', '_')}")
        command: click.Command = module.command
        return command

    # Of a closed pipe Click would make status 1, which says that a session is blocked.

    def make_context(self, *arguments: Any, **given: Any) -> click.Context:
        """Read the command line; it may be the help or the version that is written."""
        with _accept_closed_pipe():
            return super().make_context(*arguments, **given)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        with _accept_closed_pipe():
            return super().invoke(ctx)


@contextmanager
def _accept_closed_pipe() -> Iterator[None]:
    """End well where the reader of our output has seen enough."""
    try:
        yield
    except BrokenPipeError:
        _drop_output()
        raise click.exceptions.Exit(0) from None


# As psql has them, where -h names a host.
@click.group(cls=Commands, context_settings={"help_option_names": ["-?", "--help"]})
@click.version_option(__version__, "-V", "--version", prog_name="pgdoctor")
def cli() -> None:
    """Find the session that blocks your Postgres, explain why, and end it under guard rules."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 well, 1 blocked (with --exit-code), 2 wrong usage, 3 no server or our fault."""
    accept_any_encoding()
    try:
        status: Any = cli.main(arguments, prog_name="pgdoctor", standalone_mode=False)
        # Now, and not when the interpreter ends: then the error could not be reported.
        sys.stdout.flush()
    except click.exceptions.Exit as exit_:
        status = exit_.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        status = 2
    except click.ClickException as error:
        hint = explain_option(error) if isinstance(error, click.UsageError) else ""
        # It quotes what was typed: the --dsn in front of a connection string may be missing.
        print_error(without_connection_string(error.format_message()) + hint)
        status = 2
    except PgdoctorError as error:
        print_error(format_error(error))
        status = error.exit_status
    except (click.Abort, KeyboardInterrupt):
        status = 130
    except BrokenPipeError:
        # The reader of our output has seen enough.
        _drop_output()
        status = 0
    except Exception as error:  # noqa: BLE001
        # Python would show the exception's text, which may quote anything, and exit with 1: a session is blocked.
        from pgdoctor.agent.log import kinds_and_places

        print_error(f"internal error, please report it: {'; then '.join(kinds_and_places(error))}")
        _drop_output()
        status = 3
    sys.exit(status if isinstance(status, int) else 0)


def _drop_output() -> None:
    """Let go of what could not be written: Python would try again, and complain, when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def print_error(text: str) -> None:
    """One line on stderr."""
    from pgdoctor.escape import escape_text

    click.echo(f"pgdoctor: {escape_text(' '.join(text.split()))}", err=True)
