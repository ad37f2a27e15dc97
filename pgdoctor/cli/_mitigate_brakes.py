"""`pgdoctor mitigate disarm`, `arm`, `maintenance`, `reset`, `approve`: what a person has to say, recorded.

Each is written at the server, for every pgdoctor that connects as the same role, and in the journal; an approval in the
journal alone. An agent or a command that acts there reads it before the next signal.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import click

from pgdoctor.cli._connection import dsn_option
from pgdoctor.cli._operator import by_option, check_line, reason_option
from pgdoctor.cli._options import config_option, run_coroutine
from pgdoctor.cli._proposals import approve_proposal
from pgdoctor.cli._server_choice import read_dsn
from pgdoctor.config.config import Config, load_config
from pgdoctor.errors import PgdoctorError, ServerError, UsageError
from pgdoctor.fields import Duration
from pgdoctor.mitigation.audit_records import Arm, Disarm, Event, MaintenanceWindow
from pgdoctor.mitigation.history import Approval, Reset
from pgdoctor.mitigation.proposals import PREFIX

if TYPE_CHECKING:
    from pgdoctor.cli._server_brakes import BrakeChange

F = TypeVar("F", bound=Callable[..., Any])


def add_brake_options(function: F) -> F:
    """Add the options that all of these commands take."""
    return config_option(dsn_option(by_option(function)))


@click.command()
@add_brake_options
@reason_option
def disarm(config: str | None, dsn: str, reason: str, by: str) -> int:
    """Stop all signals at this server until `arm`.

    Takes effect before the next signal and survives restarts.
    """
    disarmed = 'Disarmed: no session is signalled until pgdoctor mitigate arm --reason "…".'
    return _tell_servers(
        config, dsn, lambda now: Disarm(now, reason, by), lambda told: f"{disarmed} {_say_records(told)}"
    )


@click.command()
@add_brake_options
@reason_option
def arm(config: str | None, dsn: str, reason: str, by: str) -> int:
    """Lift a disarm.

    Configuration, --enforce, rules and guards still decide whether signals are sent.
    """

    def answer(told: "BrakeChange") -> str:
        was = f"Armed again; it was {told.was.kill_switch}." if told.was.kill_switch else "Mitigation was not disarmed."
        return f"{was} {_say_records(told)}{_describe_other_brakes(load_config(config), told)}"

    return _tell_servers(config, dsn, lambda now: Arm(now, reason, by), answer)


@click.command()
@add_brake_options
@click.option("--for", "length", metavar="DURATION", help='Duration with a unit: "30m", "2h".')
@click.option("--end", is_flag=True, help="End the maintenance window now.")
@click.option("--reason", callback=check_line, help="Reason; it is recorded in the audit.")
def maintenance(config: str | None, dsn: str, length: str | None, end: bool, reason: str | None, by: str) -> int:
    """Stop all signals at this server for a time.

    Start with --for 30m --reason "…"; end early with --end.
    """
    if (length is None) != end:
        raise UsageError('give either --for 30m --reason "…", or --end')
    if reason is None and not end:
        raise UsageError('a maintenance window needs a reason: --reason "…"')
    seconds = timedelta(seconds=0 if length is None else _parse_duration(length))

    def answer(told: "BrakeChange") -> str:
        if end:
            over = (
                "The maintenance window is closed."
                if told.was.maintenance_until
                else "There was no maintenance window."
            )
            return f"{over} {_say_records(told)}{_describe_other_brakes(load_config(config), told)}"
        until = told.brakes.maintenance_until or told.event.at + seconds
        return f"Maintenance until {until.isoformat(timespec='seconds')}: no session is signalled. {_say_records(told)}"

    return _tell_servers(
        config, dsn, lambda now: MaintenanceWindow(now, now + seconds, reason or "closed by --end", by), answer
    )


@click.command()
@add_brake_options
@reason_option
def reset(config: str | None, dsn: str, reason: str, by: str) -> int:
    """Close the circuit breaker.

    Find out first what opened it: pgdoctor mitigate audit.
    """

    def answer(told: "BrakeChange") -> str:
        was = f"The breaker is closed; it was open: {told.opening}." if told.opening else "The breaker was closed."
        return f"{was} {_say_records(told)}{_describe_other_brakes(load_config(config), told)}"

    return _tell_servers(config, dsn, lambda now: Reset(now, reason, by), answer)


@click.command()
@add_brake_options
@click.argument("decision", metavar="ID")
@click.option("--yes", is_flag=True, help="Do not ask for a confirmation of a proposal; for scripts.")
def approve(config: str | None, dsn: str, decision: str, by: str, yes: bool) -> int:
    """Approve one decision that requires approval, or a proposal.

    `pgdoctor mitigate` shows the ID. All guards judge the decision again at the next poll of the agent or of
    mitigate --execute. The approval expires after approval_ttl. The ID of an assistant's proposal begins with p-: it
    is judged by all guards, and the signal is sent at once. Exit status 1: the signal was not sent, or had no effect.
    """
    if decision.startswith(PREFIX):
        return approve_proposal(config, dsn, decision, by, yes=yes)
    from pgdoctor.cli._mitigate_operations import fetch_pending_decisions

    settings = load_config(config).mitigation
    found = run_coroutine(fetch_pending_decisions(dsn, load_config(config)))
    ids = [each.id for each in found if each.id is not None]
    if decision not in ids:
        known = f"waiting decisions: {', '.join(ids)}" if ids else "no decision does"
        raise UsageError(f"no decision {decision} waits for approval at this server now; {known}")
    meant = next(each for each in found if each.id == decision)
    told = _tell_server(load_config(config), dsn, lambda now: Approval(decision, now, by))
    rule = meant.rule
    ttl = settings.approval_ttl if rule is None or rule.approval_ttl is None else rule.approval_ttl
    click.echo(
        f"Approved for {ttl}: {meant.signal} {meant.pid} ({meant.classification}, rule {rule.name if rule else '?'}), "
        f"which would free {meant.frees}. {_say_records(told)}{_describe_other_brakes(load_config(config), told)}"
    )
    return 0


COMMANDS: Sequence[click.Command] = (disarm, arm, maintenance, reset, approve)


def _tell_servers(
    config: str | None, dsn: str, event: Callable[[datetime], Event], answer: Callable[["BrakeChange"], str]
) -> int:
    """Tell the server, or each of the configuration's `[[servers]]` where no other is named, and say what holds there.

    The exit status: 3 where one of several could not be notified. Raises PgdoctorError where the only one could not.
    """
    whole = load_config(config)
    servers = [] if dsn or not whole.servers else [*whole.servers]
    if len(servers) < 2:
        click.echo(answer(_tell_server(whole, read_dsn(servers[0]) if servers else dsn, event)))
        return 0
    status = 0
    for server in servers:
        try:
            click.echo(f"{server.name}: {answer(_tell_server(whole, read_dsn(server), event, f'{server.name}: '))}")
        except PgdoctorError as error:
            click.echo(f"{server.name}: error: {error}", err=True)
            status = ServerError.exit_status
    return status


def _tell_server(config: Config, dsn: str, event: Callable[[datetime], Event], name: str = "") -> "BrakeChange":
    from pgdoctor.cli._server_brakes import tell_server

    told = run_coroutine(tell_server(config, dsn, event))
    careful = f"{name}warning: "
    roles = f" or connected as {' or '.join(told.roles)}" if told.roles else ""
    if not told.is_heard:
        click.echo(
            f"{careful}no agent that may act has used this journal for this server{roles}. "
            f"If one runs, it uses a journal other than {told.journal} and another role: repeat this with its --dsn.",
            err=True,
        )
    if told.others:
        click.echo(
            f"{careful}pgdoctors of {', '.join(told.others)} do not receive this: it needs a superuser.", err=True
        )
    if told.unrecorded:
        click.echo(f"{careful}this takes effect at the server, but is not in the journal: {told.unrecorded}", err=True)
    return told


def _say_records(told: "BrakeChange") -> str:
    seen = f"Every pgdoctor that connects as {', '.join(told.roles)} sees it. " if told.roles else ""
    return f"{seen}Not recorded in a journal." if told.unrecorded else f"{seen}Recorded in {told.journal}."


def _describe_other_brakes(config: Config, told: "BrakeChange") -> str:
    """Other brakes that stop all signals."""
    from pgdoctor.enforcement.kill_switch import KillSwitchFile

    until = told.brakes.maintenance_until
    holds = [
        told.brakes.kill_switch,
        f"maintenance until {until.isoformat(timespec='seconds')}" if until and until > told.event.at else None,
        run_coroutine(KillSwitchFile(lambda: config.mitigation.kill_switch_file).read_reason()),
    ]
    said = [each for each in holds if each]
    return f" Still no session is signalled: {'; '.join(said)}." if said else ""


def _parse_duration(text: str) -> Duration:
    try:
        found = Duration.parse(text)
    except ValueError as error:
        raise UsageError(f"--for {text}: expected {error}") from None
    if not found:
        raise UsageError("--for: expected more than 0s; --end closes a maintenance window")
    return found
