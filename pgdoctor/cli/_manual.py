"""What `pgdoctor cancel` and `pgdoctor terminate` share: the options, the confirmation, the exit status."""

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

from pgdoctor.cli._connection import dsn_option
from pgdoctor.cli._operator import by_option
from pgdoctor.cli._options import config_option, run_coroutine
from pgdoctor.cli._output import screen_width, write_json, write_lines
from pgdoctor.config.config import Config, load_config
from pgdoctor.errors import UsageError
from pgdoctor.escape import encode_json
from pgdoctor.mitigation.history import Signal
from pgdoctor.mitigation.manual_action import ManualOutcome
from pgdoctor.render.manual_action import (
    ManualReport,
    NotTried,
    describe_action,
    describe_outcome,
    describe_refusal,
    report_action,
)
from pgdoctor.render.paragraph import lay_out_paragraphs
from pgdoctor.render.plain import format_one_line

if TYPE_CHECKING:
    from pgdoctor.cli._manual_operations import ShownAction

F = TypeVar("F", bound=Callable[..., Any])

#: The exit status where the server answered with an error.
_NO_ANSWER = 3

_MOST_TEXT = 1_000

#: Said where no signal was tried.
_NOT_SENT = {
    "stopped": "no, an operator has stopped all signals. Override with --despite-disarm.",
    "not_confirmed": "not sent.",
}

_LARGEST_PID = 2**31 - 1
#: Digits that are read of a PID, and characters that are shown of what is none.
_MOST_DIGITS = 20
_MOST_SHOWN = 40


def _parse_pid(context: click.Context, _: click.Parameter, text: str | None) -> int:
    if text is None:
        raise click.UsageError("the PID of a session is missing: pgdoctor diagnose and watch show PIDs", context)
    if not (text.isascii() and text.isdecimal()) or not 0 < int(text[:_MOST_DIGITS]) <= _LARGEST_PID:
        raise click.UsageError(f"{text[:_MOST_SHOWN]!r} is not a PID: pgdoctor diagnose and watch show PIDs", context)
    return int(text)


def manual_options(function: F) -> F:
    """PID, connection and the rest."""
    for option in (
        click.option(
            "--despite-disarm",
            is_flag=True,
            help="Signal although an operator has stopped all signals (disarm, maintenance, kill-switch file).",
        ),
        click.option("--format", "form", type=click.Choice(("text", "json")), default="text", show_default=True),
        click.option("--yes", is_flag=True, help="Do not ask for a confirmation; for scripts."),
        by_option,
        config_option,
        dsn_option,
        click.argument("pid", required=False, metavar="PID", callback=_parse_pid),
    ):
        function = option(function)
    return function


class ManualOptions(NamedTuple):
    """How a signal was asked for. `form`: text or json."""

    by: str
    yes: bool
    despite_disarm: bool
    form: str


def signal_session(signal: Signal, pid: int, dsn: str, config: str | None, options: ManualOptions) -> int:
    """Show the session, ask, and signal it; the exit status. Raises PgdoctorError."""
    if not options.yes and not sys.stdin.isatty():
        raise UsageError(f"{signal} {pid} needs a terminal for its confirmation; in scripts give --yes")
    return run_coroutine(_signal_session(signal, pid, dsn, load_config(config), options))


async def _signal_session(signal: Signal, pid: int, dsn: str, config: Config, options: ManualOptions) -> int:
    from pgdoctor.cli._manual_operations import open_operations

    is_json = options.form == "json"
    async with open_operations(dsn, config, options.by) as operations:
        shown = await operations.show(signal, pid)
        if shown is None:
            _say_gone(signal, pid, is_json=is_json)
            return 1
        result: ManualOutcome | NotTried | None = _find_objection(shown, options)
        # JSON alone is on stdout; a person who is asked reads the rest on stderr.
        _print_action(shown, is_quiet=is_json and options.yes, err=is_json)
        if result is None:
            result = (
                await operations.act(shown, despite_brakes=options.despite_disarm)
                if _confirm_action(shown, yes=options.yes)
                else "not_confirmed"
            )
    _say_result(shown, result, config, is_json=is_json)
    if not isinstance(result, ManualOutcome):
        return 1
    return _NO_ANSWER if result.outcome == "error" else int(result.outcome not in ("released", "ended"))


def _find_objection(shown: "ShownAction", options: ManualOptions) -> NotTried | None:
    if shown.action.refusal is not None:
        return "refused"
    return "stopped" if shown.brakes and not options.despite_disarm else None


def _say_gone(signal: Signal, pid: int, *, is_json: bool) -> None:
    if is_json:
        write_json(encode_json(ManualReport(signal=signal, pid=pid, outcome="no_such_session")))
    else:
        click.echo(f"{signal} {pid}: no, there is no such session at this server.")


def _print_action(shown: "ShownAction", *, is_quiet: bool, err: bool) -> None:
    """What a person reads before the question."""
    action = shown.action
    said = describe_refusal(action) if action.refusal else describe_action(action, shown.server, shown.brakes)
    if not is_quiet:
        write_lines(lay_out_paragraphs(said, screen_width()), err=err)


def _say_result(shown: "ShownAction", result: ManualOutcome | NotTried, config: Config, *, is_json: bool) -> None:
    action = shown.action
    if is_json:
        write_json(encode_json(report_action(action, shown.server, shown.brakes, result)))
    elif isinstance(result, ManualOutcome):
        click.echo(format_one_line(describe_outcome(action, result), _MOST_TEXT))
    elif result in _NOT_SENT:
        click.echo(f"{action.signal} {action.session.pid}: {_NOT_SENT[result]}")
    if isinstance(result, ManualOutcome) and result.unrecorded is not None:
        click.echo(f"warning: this is not recorded in the journal {config.journal.file}: {result.unrecorded}", err=True)


def _confirm_action(shown: "ShownAction", *, yes: bool) -> bool:
    if yes:
        return True
    action = shown.action
    despite = " despite the stop" if shown.brakes else ""
    return click.confirm(
        f"{action.signal.capitalize()} session {action.session.pid}{despite}?", default=False, err=True
    )
