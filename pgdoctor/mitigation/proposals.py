"""Proposals: signals that an assistant suggests, and that only a person sends.

    open ─▶ approved   by a person, and not refused by any guard at that moment; the signal follows
         ├▶ rejected   by a person
         └▶ expired    after LASTS

A proposal is about one state of one session: its identity is kept, and compared again. Times are the server's.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Literal

import msgspec
from msgspec.structs import replace

from pgdoctor.fields import Duration
from pgdoctor.mitigation.history import Signal, same_victim
from pgdoctor.mitigation.rules import Mitigation, Rule
from pgdoctor.model.identity import Identity

#: How long a proposal may be approved.
LASTS = timedelta(minutes=10)

#: Proposals of one server that may be open at once: a person has to read them.
MOST_OPEN = 5

#: Before the digits of an id; no other decision's id begins so.
PREFIX = "p-"

#: The rule by which the guards judge a proposal where no other rule could have led to it.
_RULE = "proposal"

#: The longest transaction of all: a person decides, whatever its age.
_ANY_AGE = Duration(10 * 366 * 24 * 3600)

ProposalState = Literal["open", "expired", "approved", "rejected"]


class Proposal(msgspec.Struct, frozen=True, tag="proposal", tag_field="kind"):
    """A signal that an assistant suggests. `reason` is the assistant's, and untrusted."""

    at: datetime
    id: str
    signal: Signal
    victim: Identity
    by: str
    reason: str
    classification: str | None
    relation: str | None
    usename: str | None
    datname: str | None
    application_name: str | None
    frees_at_once: int
    frees_in_turn: int
    loses: str

    @property
    def decision(self) -> str:
        """What its records are about."""
        return self.id

    @property
    def expires(self) -> datetime:
        """From then on it cannot be approved."""
        return self.at + LASTS

    def is_about(self, victim: Identity | None) -> bool:
        """Whether a session is still the one that was judged: the statement for a cancel, the transaction else."""
        return victim is not None and same_victim(self.victim, victim, self.signal)


class ProposalClosed(msgspec.Struct, frozen=True, tag="proposal_closed", tag_field="kind"):
    """The answer of a person. Each proposal has at most one."""

    at: datetime
    decision: str
    answer: Literal["approved", "rejected"]
    by: str
    reason: str = ""


class ProposalRefused(msgspec.Struct, frozen=True, tag="proposal_refused", tag_field="kind"):
    """A person wanted to approve it, and guards objected; it stays open."""

    at: datetime
    decision: str
    by: str
    objections: tuple[str, ...]


class KnownProposal(msgspec.Struct, frozen=True):
    """A proposal with the answer that it has; None: it has none."""

    proposal: Proposal
    closed: ProposalClosed | None = None

    def find_state(self, now: datetime) -> ProposalState:
        """Where it stands at `now`, the server's clock."""
        if self.closed is not None:
            return self.closed.answer
        return "open" if now < self.proposal.expires else "expired"


def fold_proposals(events: Iterable[object]) -> tuple[KnownProposal, ...]:
    """The proposals of these events with their answers, oldest first."""
    found: dict[str, KnownProposal] = {}
    for event in events:
        if isinstance(event, Proposal):
            found[event.id] = KnownProposal(event)
        elif isinstance(event, ProposalClosed) and event.decision in found:
            found[event.decision] = replace(found[event.decision], closed=event)
    return tuple(found.values())


def list_open(known: Iterable[KnownProposal], now: datetime) -> Iterator[Proposal]:
    """Those that a person may still approve."""
    return (each.proposal for each in known if each.find_state(now) == "open")


def allow_proposal(settings: Mitigation, classes: tuple[str, ...], signal: Signal) -> Mitigation:
    """The same settings with a rule for this signal to these classes, so that every guard can be asked.

    The person stands for the conditions of rules; protections, brakes, budgets and hard limits are as configured.
    """
    rule = Rule(
        name=_RULE,
        classification=classes,
        action=signal,
        min_wait=Duration(0),
        max_age=_ANY_AGE,
        min_session_age=Duration(0),
        require_approval=False,
    )
    return replace(settings, rules=(rule, *settings.rules))
