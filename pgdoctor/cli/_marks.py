"""`pgdoctor mitigate disarm`, `arm`, `maintenance`, `reset`, `approve`: what a person has to say, written down.

Each is a record in the journal, of one server. Whoever acts there, an agent or a command, reads it before the next
signal.
"""

import getpass
import os
import socket
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from pgdoctor.cli._options import DEADLINE, config_option, dsn_option, run
from pgdoctor.config import Config, load
from pgdoctor.errors import UsageError
from pgdoctor.mitigation import records
from pgdoctor.mitigation.history import Approval, Reset
from pgdoctor.mitigation.records import BY_AGENT, NAMELESS, Arm, Brakes, Disarm, Event, Maintenance
from pgdoctor.mitigation.written import Duration

F = TypeVar("F", bound=Callable[..., Any])

_MOST_REASON = 500

#: Bytes above the journal's limit: what a person says, to stop above all, is written where an agent's journal is full.
_RESERVE = 4 * 1024 * 1024


class Told(msgspec.Struct, frozen=True):
    """What was written down, and what holds now at that server."""

    event: Event
    #: Before and after.
    was: Brakes
    brakes: Brakes
    #: Why the breaker was open; None: it was not.
    opening: str | None
    journal: Path
    #: An agent that may act has used this journal for this server; with `mode = "off"` none does.
    is_heard: bool


def _by() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        # In a container a user need not have a name.
        user = f"uid-{os.getuid()}"
    return f"{user}@{socket.gethostname()}"


def _one_line(_: click.Context, parameter: click.Parameter, text: str | None) -> str | None:
    if text is not None and not (0 < len(text.strip()) <= _MOST_REASON and text.isprintable()):
        raise click.BadParameter(f"wanted is one line of at most {_MOST_REASON} characters", param=parameter)
    return text and text.strip()


def reason_option(function: F) -> F:
    return click.option("--reason", required=True, callback=_one_line, help="Reason; it is recorded in the audit.")(
        function
    )


def by_option(function: F) -> F:
    return click.option(
        "--by",
        default=_by,
        show_default="user@host",
        callback=_one_line,
        metavar="NAME",
        help="Name of the person; it is recorded in the audit.",
    )(function)


def marks(function: F) -> F:
    """Add the options that all of these commands take."""
    return config_option(dsn_option(by_option(function)))


@click.command()
@marks
@reason_option
def disarm(config: str | None, dsn: str, reason: str, by: str) -> None:
    """Stop all signals at this server until `arm`.

    Takes effect before the next signal and survives restarts.
    """
    told = _tell(config, dsn, lambda now: Disarm(now, reason, by))
    click.echo(f'Disarmed: nobody is signalled until pgdoctor mitigate arm --reason "…". {_where(told)}')


@click.command()
@marks
@reason_option
def arm(config: str | None, dsn: str, reason: str, by: str) -> None:
    """Lift a disarm.

    Configuration, --enforce, rules and guards still decide whether signals are sent.
    """
    told = _tell(config, dsn, lambda now: Arm(now, reason, by))
    was = f"Armed again; it was {told.was.kill_switch}." if told.was.kill_switch else "It was not disarmed."
    click.echo(f"{was} {_where(told)}{_still(load(config), told)}")


@click.command()
@marks
@click.option("--for", "length", metavar="DURATION", help='Duration with a unit: "30m", "2h".')
@click.option("--end", is_flag=True, help="End the maintenance window now.")
@click.option("--reason", callback=_one_line, help="Reason; it is recorded in the audit.")
def maintenance(config: str | None, dsn: str, length: str | None, end: bool, reason: str | None, by: str) -> None:
    """Stop all signals at this server for a time.

    Start with --for 30m --reason "…"; end early with --end.
    """
    if (length is None) != end:
        raise UsageError('say either how long, --for 30m --reason "…", or --end')
    if reason is None and not end:
        raise UsageError('a maintenance needs a reason: --reason "…"')
    seconds = timedelta(seconds=0 if length is None else _duration(length))
    told = _tell(config, dsn, lambda now: Maintenance(now, now + seconds, reason or "it is over", by))
    if end:
        over = "Maintenance is over." if told.was.maintenance_until else "There was no maintenance."
        click.echo(f"{over} {_where(told)}{_still(load(config), told)}")
    else:
        until = told.brakes.maintenance_until or told.event.at + seconds
        click.echo(f"Maintenance until {until.isoformat(timespec='seconds')}: nobody is signalled. {_where(told)}")


@click.command()
@marks
@reason_option
def reset(config: str | None, dsn: str, reason: str, by: str) -> None:
    """Close the circuit breaker.

    Find out first what opened it: pgdoctor mitigate audit.
    """
    told = _tell(config, dsn, lambda now: Reset(now, reason, by))
    was = f"The breaker is closed; it was open: {told.opening}." if told.opening else "The breaker was closed."
    click.echo(f"{was} {_where(told)}{_still(load(config), told)}")


@click.command()
@marks
@click.argument("decision", metavar="ID")
def approve(config: str | None, dsn: str, decision: str, by: str) -> None:
    """Approve one decision that requires approval.

    `pgdoctor mitigate` shows the ID. All guards judge the decision again at the next poll of the agent or of
    mitigate --execute. The approval expires after approval_ttl.
    """
    from pgdoctor.cli._plans import waiting

    settings = load(config).mitigation
    found = run(waiting(dsn, load(config)))
    ids = [each.id for each in found if each.id is not None]
    if decision not in ids:
        known = f"these do: {', '.join(ids)}" if ids else "none does"
        raise UsageError(f"no decision {decision} waits for a person's word at this server now; {known}")
    meant = next(each for each in found if each.id == decision)
    told = _tell(config, dsn, lambda now: Approval(decision, now, by))
    rule = meant.rule
    ttl = settings.approval_ttl if rule is None or rule.approval_ttl is None else rule.approval_ttl
    click.echo(
        f"Approved for {ttl}: {meant.signal} {meant.pid} ({meant.classification}, rule {rule.name if rule else '?'}), "
        f"which would free {meant.frees}. {_where(told)}{_still(load(config), told)}"
    )


COMMANDS: Sequence[click.Command] = (disarm, arm, maintenance, reset, approve)


def _tell(config: str | None, dsn: str, event: Callable[[datetime], Event]) -> Told:
    told = run(_written(load(config), dsn, event))
    if not told.is_heard:
        click.echo(
            "Careful: no agent that may act has used this journal for this server. "
            f"If one runs, its journal is not {told.journal}: type this as its user, with its --config.",
            err=True,
        )
    return told


async def _written(config: Config, dsn: str, event: Callable[[datetime], Event]) -> Told:
    """Write down what somebody says of a server, at its own time."""
    from pgdoctor.journal.store import Journal
    from pgdoctor.postgres.door import Door

    async with await Door.open(dsn, DEADLINE) as door:
        server, now = await door.system_identifier(), (await door.fetch("clock"))[0].now
    if not server:
        raise UsageError(f"nothing is written down: {NAMELESS}")
    journal = Journal.open(config.journal.file, config.journal.max_size + _RESERVE)
    try:
        before = list(records.events(journal.records(server, kinds=records.LASTING)))
        said = event(now)
        kind, subject, body, at = records.written(said)
        journal.append(server, kind, subject, body, at)
        is_heard = journal.recall(server, BY_AGENT) is not None
    finally:
        journal.close()
    history, was = records.history(before), records.brakes(before)
    opening = history.opening
    is_open = opening is not None and (history.reset is None or history.reset.at < opening.at)
    return Told(
        event=said,
        was=was,
        brakes=records.brakes([said], was),
        opening=opening.reason if opening and is_open else None,
        journal=journal.path,
        is_heard=is_heard,
    )


def _where(told: Told) -> str:
    return f"Recorded in {told.journal}."


def _still(config: Config, told: Told) -> str:
    """What else keeps everybody from acting."""
    from pgdoctor.mitigation.kill_switch import KillSwitch

    until = told.brakes.maintenance_until
    holds = [
        told.brakes.kill_switch,
        f"maintenance until {until.isoformat(timespec='seconds')}" if until and until > told.event.at else None,
        run(KillSwitch(lambda: config.mitigation.kill_switch_file).pulled()),
    ]
    said = [each for each in holds if each]
    return f" Still nobody is signalled: {'; '.join(said)}." if said else ""


def _duration(text: str) -> Duration:
    try:
        found = Duration.parse(text)
    except ValueError as error:
        raise UsageError(f"--for {text}: wanted is {error}") from None
    if not found:
        raise UsageError("--for: longer than nothing; a maintenance is ended by --end")
    return found
