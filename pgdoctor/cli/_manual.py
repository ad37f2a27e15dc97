"""What `pgdoctor cancel` and `pgdoctor terminate` share: the options, the confirmation, the exit status."""

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from pgdoctor.cli._connection import dsn_option
from pgdoctor.cli._mitigate_brakes import by_option
from pgdoctor.cli._options import config_option, run
from pgdoctor.cli._output import screen_width, write_lines
from pgdoctor.config.config import Config, load_config
from pgdoctor.errors import UsageError
from pgdoctor.mitigation.history import Signal
from pgdoctor.render.manual_action import describe_action, describe_outcome, describe_refusal
from pgdoctor.render.paragraph import lay_out
from pgdoctor.render.plain import one_line

if TYPE_CHECKING:
    from pgdoctor.cli._manual_operations import ShownAction

F = TypeVar("F", bound=Callable[..., Any])

#: The exit status where the server answered with an error.
_NO_ANSWER = 3

_MOST_TEXT = 1_000


def manual_options(function: F) -> F:
    """PID, connection and the rest."""
    for option in (
        click.option(
            "--despite-disarm",
            is_flag=True,
            help="Signal although an operator has stopped all signals (disarm, maintenance, kill-switch file).",
        ),
        click.option("--yes", is_flag=True, help="Do not ask for a confirmation; for scripts."),
        by_option,
        config_option,
        dsn_option,
        click.argument("pid", type=click.IntRange(1, 2**31 - 1)),
    ):
        function = option(function)
    return function


def signal_session(
    signal: Signal, pid: int, dsn: str, config: str | None, *, by: str, yes: bool, despite_disarm: bool
) -> int:
    """Show the session, ask, and signal it; the exit status. Raises PgdoctorError."""
    if not yes and not sys.stdin.isatty():
        raise UsageError(f"{signal} {pid} needs a terminal for its confirmation; in scripts give --yes")
    return run(_signal(signal, pid, dsn, load_config(config), by, yes=yes, despite_disarm=despite_disarm))


async def _signal(
    signal: Signal, pid: int, dsn: str, config: Config, by: str, *, yes: bool, despite_disarm: bool
) -> int:
    from pgdoctor.cli._manual_operations import open_operations

    async with open_operations(dsn, config, by) as operations:
        shown = await operations.show(signal, pid)
        if shown is None:
            click.echo(f"{signal} {pid}: no, there is no such session at this server.")
            return 1
        if shown.action.refusal is not None:
            write_lines(lay_out(describe_refusal(shown.action), screen_width()))
            return 1
        write_lines(lay_out(describe_action(shown.action, shown.server, shown.brakes), screen_width()))
        if shown.brakes and not despite_disarm:
            click.echo(f"{signal} {pid}: no, an operator has stopped all signals. Override with --despite-disarm.")
            return 1
        if not _agrees(shown, yes=yes):
            click.echo(f"{signal} {pid}: not sent.")
            return 1
        outcome = await operations.act(shown, despite_brakes=despite_disarm)
    click.echo(one_line(describe_outcome(shown.action, outcome), _MOST_TEXT))
    if outcome.unrecorded is not None:
        click.echo(
            f"warning: this is not recorded in the journal {config.journal.file}: {outcome.unrecorded}", err=True
        )
    if outcome.outcome == "error":
        return _NO_ANSWER
    return 0 if outcome.outcome in ("released", "ended") else 1


def _agrees(shown: "ShownAction", *, yes: bool) -> bool:
    if yes:
        return True
    action = shown.action
    despite = " despite the stop" if shown.brakes else ""
    return click.confirm(
        f"{action.signal.capitalize()} session {action.session.pid}{despite}?", default=False, err=True
    )
