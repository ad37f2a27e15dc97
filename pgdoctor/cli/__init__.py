"""The command line: one file a command, found by its name; errors become one line and an exit status."""

import importlib
import os
import pkgutil
import sys
from typing import Any

import click

from pgdoctor import __version__
from pgdoctor.cli._groups import Group
from pgdoctor.cli._output import accept_any_encoding
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


@click.group(cls=Commands)
@click.version_option(__version__, prog_name="pgdoctor")
def cli() -> None:
    """Find the session that blocks your Postgres, explain why, and end it under guard rules."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 well, 1 blocked (with --exit-code), 2 wrong usage, 3 no server or our fault."""
    accept_any_encoding()
    try:
        status: Any = cli.main(arguments, prog_name="pgdoctor", standalone_mode=False)
        # Now, and not when the interpreter ends: then nobody could say what went wrong.
        sys.stdout.flush()
    except click.exceptions.Exit as exit_:
        status = exit_.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        status = 2
    except click.ClickException as error:
        # It quotes what was typed: somebody may have forgotten the --dsn in front of a connection string.
        hint = " Help is --help; -h names a host." if getattr(error, "option_name", None) == "-h" else ""
        complain(without_connection_string(error.format_message()) + hint)
        status = 2
    except PgdoctorError as error:
        complain(str(error))
        status = error.exit_status
    except (click.Abort, KeyboardInterrupt):
        status = 130
    except BrokenPipeError:
        # The reader of our output has seen enough.
        _drop_output()
        status = 0
    except Exception as error:  # noqa: BLE001
        # Python would show the exception's text, which may quote anything, and exit with 1: somebody is blocked.
        from pgdoctor.agent.log import kinds_and_places

        complain(f"internal error, please report it: {'; then '.join(kinds_and_places(error))}")
        _drop_output()
        status = 3
    sys.exit(status if isinstance(status, int) else 0)


def _drop_output() -> None:
    """Let go of what could not be written: Python would try again, and complain, when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def complain(text: str) -> None:
    """One line on stderr."""
    from pgdoctor.escape import escape_text

    click.echo(f"pgdoctor: {escape_text(' '.join(text.split()))}", err=True)
