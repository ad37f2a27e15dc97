"""`pgdoctor mitigate proposals`, `reject` and `approve p-…`: what a person answers to an assistant."""

import sys
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING

import click

from pgdoctor.cli._connection import dsn_option
from pgdoctor.cli._operator import by_option, check_line
from pgdoctor.cli._options import config_option, run_coroutine
from pgdoctor.cli._output import screen_width, write_json, write_lines
from pgdoctor.config.config import load_config
from pgdoctor.errors import UsageError
from pgdoctor.escape import encode_json
from pgdoctor.mitigation.manual_action import ManualOutcome
from pgdoctor.mitigation.proposals import KnownProposal
from pgdoctor.render.manual_action import describe_action, describe_outcome
from pgdoctor.render.paragraph import Paragraph, lay_out_paragraphs
from pgdoctor.render.plain import format_one_line
from pgdoctor.render.proposals import describe_proposal, proposals_table

if TYPE_CHECKING:
    from pgdoctor.cli._proposal_answers import ProposalAnswers

_MOST_TEXT = 1_000


@click.command()
@config_option
@dsn_option
@click.option("--all", "is_all", is_flag=True, help="Also show answered and expired proposals of the last day.")
@click.option("--format", "form", type=click.Choice(("table", "json")), default="table", show_default=True)
def proposals(config: str | None, dsn: str, is_all: bool, form: str) -> None:
    """List the signals that assistants have proposed.

    pgdoctor mcp --allow-proposals files them. Each expires after 10 minutes; approve or reject it by its ID.
    """
    known, now = run_coroutine(_list_proposals(dsn, config))
    found = [each for each in known if is_all or each.find_state(now) == "open"]
    if form == "json":
        write_json(encode_json([{"state": each.find_state(now), "proposal": each.proposal} for each in found]))
    else:
        click.echo(proposals_table(found, now), nl=False)


@click.command()
@config_option
@dsn_option
@by_option
@click.option("--reason", callback=check_line, help="Reason; it is recorded in the audit.")
@click.argument("proposal", metavar="ID")
def reject(config: str | None, dsn: str, by: str, reason: str | None, proposal: str) -> None:
    """Reject a signal that an assistant has proposed."""
    run_coroutine(_reject(dsn, config, proposal, by, reason or ""))
    click.echo(f"Rejected: {proposal}. No signal was sent.")


def approve_proposal(config: str | None, dsn: str, proposal: str, by: str, *, yes: bool) -> int:
    """Show a proposal, ask, judge it again, and send its signal; the exit status. Raises PgdoctorError."""
    if not yes and not sys.stdin.isatty():
        raise UsageError(f"approve {proposal} needs a terminal for its confirmation; in scripts give --yes")
    return run_coroutine(_approve(dsn, config, proposal, by, yes=yes))


async def _list_proposals(dsn: str, config: str | None) -> tuple[tuple[KnownProposal, ...], datetime]:
    from pgdoctor.cli._proposal_judgement import open_proposals

    async with open_proposals(dsn, load_config(config)) as operations:
        return await operations.list_proposals(), await operations.read_clock()


async def _reject(dsn: str, config: str | None, proposal: str, by: str, reason: str) -> None:
    from pgdoctor.cli._proposal_answers import open_answers

    async with open_answers(dsn, load_config(config), by) as answers:
        await answers.reject((await answers.find_open(proposal)).id, reason)


async def _approve(dsn: str, config: str | None, proposal_id: str, by: str, *, yes: bool) -> int:
    from pgdoctor.cli._proposal_answers import open_answers

    async with open_answers(dsn, load_config(config), by) as answers:
        proposal = await answers.find_open(proposal_id)
        _write(describe_proposal(proposal))
        if not yes and not click.confirm(f"Approve {proposal.signal} {proposal.victim.pid}?", default=False, err=True):
            click.echo("not sent.")
            return 1
        return await _send(answers, proposal_id)


async def _send(answers: "ProposalAnswers", proposal_id: str) -> int:
    approved = await answers.approve(proposal_id)
    if approved.action is not None:
        _write(describe_action(approved.action, approved.server, ()))
    if approved.outcome is None or approved.action is None:
        for each in approved.objections:
            click.echo(format_one_line(f"not sent: {each}", _MOST_TEXT))
        return 1
    click.echo(format_one_line(describe_outcome(approved.action, approved.outcome), _MOST_TEXT))
    return _exit_status(approved.outcome)


def _exit_status(outcome: ManualOutcome) -> int:
    return 3 if outcome.outcome == "error" else int(outcome.outcome not in ("released", "ended"))


def _write(paragraphs: Iterator[Paragraph]) -> None:
    write_lines(lay_out_paragraphs(paragraphs, screen_width()))
