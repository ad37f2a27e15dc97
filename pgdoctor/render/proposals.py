"""Signals that assistants have proposed, for the person who answers them."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from tabulate import tabulate

from pgdoctor.formatting import format_count, format_duration
from pgdoctor.mitigation.proposals import KnownProposal, Proposal
from pgdoctor.render.paragraph import Paragraph
from pgdoctor.render.plain import format_one_line
from pgdoctor.render.tree import format_session_client

_WIDTH = 60
_MOST_TEXT = 600


def proposals_table(found: Sequence[KnownProposal], now: datetime) -> str:
    """One line a proposal, at `now`, the server's clock."""
    if not found:
        return "No proposal is open.\n"
    rows = [
        (
            each.proposal.id,
            each.find_state(now),
            _format_age(each.proposal, now),
            f"{each.proposal.signal} {each.proposal.victim.pid}",
            format_one_line(each.proposal.classification or "", _WIDTH),
            format_one_line(each.proposal.relation or "", _WIDTH),
            each.proposal.frees_in_turn,
            format_one_line(each.proposal.reason, _MOST_TEXT),
        )
        for each in found
    ]
    headers = ("id", "state", "age", "signal", "class", "relation", "frees", "the assistant says")
    return tabulate(rows, headers, tablefmt="simple", maxcolwidths=[None] * 7 + [_WIDTH]) + "\n"


def describe_proposal(proposal: Proposal) -> Iterator[Paragraph]:
    """What a person reads before the question. It is as of the proposal; all of it is judged again afterwards."""
    whose = format_session_client(proposal.usename, proposal.datname, proposal.application_name)
    yield Paragraph(f"{proposal.id}: {proposal.signal} {proposal.victim.pid} of {whose}", "bold", others="  ")
    about = proposal.classification or "no blocker"
    where = f" on {proposal.relation}" if proposal.relation else ""
    freed = format_count(proposal.frees_in_turn, "session")
    said = format_one_line(f"it was {about}{where}; frees {freed}; costs {proposal.loses}", _MOST_TEXT)
    yield Paragraph(said, first="  ", others="    ")
    reason = format_one_line(f"{proposal.by} says (not verified): {proposal.reason}", _MOST_TEXT)
    yield Paragraph(reason, first="  ", others="    ")


def _format_age(proposal: Proposal, now: datetime) -> str:
    return format_duration(max((now - proposal.at).total_seconds(), 0.0))
