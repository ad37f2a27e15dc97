"""The records of mitigation, and what follows from it: a history is nothing but the fold of its records.

An action is written twice: what is intended, before anything is sent, and what came of it. An intent without an
outcome shows only that the signal may have been sent: it is spent, and its outcome is `error`. A dry run has not done
its announced actions: it counts in dry runs, and `in_mode` leaves it out of everything else.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Protocol

import msgspec
from msgspec.structs import replace

from pgdoctor.errors import JournalError
from pgdoctor.mitigation.decision import Decision
from pgdoctor.mitigation.guard import GuardVerdict
from pgdoctor.mitigation.history import (
    Action,
    Approval,
    History,
    Opening,
    Outcome,
    Reset,
    Signal,
    decision_id,
    with_action,
    with_opening,
)
from pgdoctor.mitigation.proposals import Proposal, ProposalClosed, ProposalRefused
from pgdoctor.mitigation.rehearsal import RehearsalScore
from pgdoctor.mitigation.rules import Mode
from pgdoctor.model.diagnosis import Finding
from pgdoctor.model.identity import Identity

#: The outcome of an action whose record ends with its intent.
UNKNOWN = "interrupted between intent and outcome: the signal may have been sent"

#: Records that only test whether the journal can be written: of an agent, and of a command.
BY_AGENT, BY_COMMAND = "mitigation_audit", "mitigation_command"

#: Why nothing can be relied on where the role may not ask for the system identifier.
NAMELESS = (
    "the server cannot be identified: GRANT EXECUTE ON FUNCTION pg_catalog.pg_control_system() TO pgdoctor's role"
)

#: Waiters that a record names; all of them are counted.
_MOST_NAMED = 20


class Intent(msgspec.Struct, frozen=True, tag="intent", tag_field="kind"):
    """What is about to be done, and all that decided it."""

    at: datetime
    #: Without an outcome; `waiters` are the first few of `frees_at_once`.
    action: Action
    mode: Mode
    frees: int
    frees_at_once: int
    datname: str | None
    application_name: str | None
    transaction_seconds: float | None
    oldest_wait_seconds: float | None
    evidence: tuple[str, ...]
    #: The verdict of every guard, with the values that it examined.
    verdicts: tuple[GuardVerdict, ...]
    #: What is left of each budget before this action.
    budgets: Mapping[str, int]
    notes: tuple[str, ...] = ()
    #: The users whose waits decided.
    waiting_users: tuple[str, ...] = ()

    @property
    def decision(self) -> str:
        """The id of what was decided."""
        return decision_id(self.action.victim, self.action.signal)


class Settled(msgspec.Struct, frozen=True, tag="outcome", tag_field="kind"):
    """What came of an action."""

    at: datetime
    decision: str
    outcome: Outcome
    #: The server's clock when it was sent; else when it was decided upon.
    signalled_at: datetime
    #: From the signal to the poll that settled it.
    seconds: float | None = None
    sqlstate: str | None = None
    message: str | None = None
    #: What is left of each budget after this action.
    budgets: Mapping[str, int] = {}


class Disarm(msgspec.Struct, frozen=True, tag="disarm", tag_field="kind"):
    """No session is to be signalled until an operator arms again. `by`: the operator, or the cause."""

    at: datetime
    reason: str
    by: str


class Arm(msgspec.Struct, frozen=True, tag="arm", tag_field="kind"):
    """That a disarm is over."""

    at: datetime
    reason: str
    by: str


class MaintenanceWindow(msgspec.Struct, frozen=True, tag="maintenance", tag_field="kind"):
    """No session is to be signalled until then. One whose `until` is not after its `at` ends the one before."""

    at: datetime
    until: datetime
    reason: str
    by: str


class Trace(msgspec.Struct, frozen=True, tag="trace", tag_field="kind"):
    """What an action has left behind: one of the findings of `aftermath`."""

    at: datetime
    decision: str
    finding: str
    summary: str


class PersonIntent(msgspec.Struct, frozen=True, tag="person_intent", tag_field="kind"):
    """What a person is about to do to one session, and what that person was shown.

    It is no action of mitigation: it spends no budget, opens no breaker and is no precedent for a rule.
    """

    at: datetime
    signal: Signal
    victim: Identity
    by: str
    #: None: it blocks no session.
    classification: str | None
    relation: str | None
    usename: str | None
    datname: str | None
    application_name: str | None
    frees_at_once: int
    frees_in_turn: int
    loses: str
    #: What spoke against it and was shown.
    warnings: tuple[str, ...] = ()
    #: The brakes that held, and that the person chose to override.
    despite: tuple[str, ...] = ()

    @property
    def decision(self) -> str:
        """The id of what was done: the same as of its outcome."""
        return decision_id(self.victim, self.signal)


class PersonOutcome(msgspec.Struct, frozen=True, tag="person_outcome", tag_field="kind"):
    """What came of it; `outcome` is a `ManualResult`."""

    at: datetime
    decision: str
    outcome: str
    signalled_at: datetime | None = None
    released: int = 0
    seconds: float | None = None
    sqlstate: str | None = None
    message: str | None = None


Event = (
    PersonIntent
    | PersonOutcome
    | Intent
    | Settled
    | Opening
    | Reset
    | Approval
    | Disarm
    | Arm
    | MaintenanceWindow
    | Trace
    | Proposal
    | ProposalClosed
    | ProposalRefused
)

#: What assistants propose, and what people answer.
PROPOSALS = ("proposal", "proposal_closed", "proposal_refused")

#: The kinds of records, and those that hold until a later record ends them, however old they are.
KINDS = (
    *("intent", "outcome", "opening", "reset", "approval", "disarm", "arm", "maintenance", "trace"),
    *("person_intent", "person_outcome", *PROPOSALS),
)
LASTING = ("opening", "reset", "disarm", "arm", "maintenance")

_decode = msgspec.json.Decoder(Event).decode


class AuditRecord(Protocol):
    """A record as the journal gives it."""

    @property
    def id(self) -> int:
        """Its place."""

    @property
    def kind(self) -> str:
        """One of KINDS, or one of a newer version."""

    @property
    def body(self) -> bytes:
        """The event in JSON."""


class Brakes(msgspec.Struct, frozen=True):
    """What was pulled, and holds."""

    #: Why no session is to be signalled; None: there is no disarm.
    kill_switch: str | None = None
    maintenance_until: datetime | None = None
    #: The latest event of each, whether it holds or has ended; None: there was none.
    said: Disarm | Arm | None = None
    marked: MaintenanceWindow | None = None


def encode_event(event: Event | RehearsalScore) -> tuple[str, str, bytes, datetime]:
    """The kind, subject (a decision's id, or nothing), body and time of an event's record."""
    return str(event.__struct_config__.tag), getattr(event, "decision", ""), msgspec.json.encode(event), event.at


def read_events(records: Iterable[AuditRecord]) -> Iterator[Event]:
    """The events of the records that are ours. Raises JournalError at one that cannot be read: it may be a brake."""
    for record in records:
        if record.kind in KINDS:
            try:
                yield _decode(record.body)
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                raise JournalError(
                    f"record {record.id} ({record.kind}) of the journal cannot be read: {error}"
                ) from None


def replay_history(told: Iterable[Event], onto: History | None = None) -> History:
    """All that the events say of actions, breaker and approvals, added to what was known before them."""
    known = onto or History()
    for event in told:
        match event:
            case Intent():
                known = with_action(known, _broken_off(event))
            case Settled():
                known = _settle_action(known, event)
            case Opening():
                known = with_opening(known, event)
            case Reset():
                known = replace(known, reset=event, stops=())
            case Approval():
                known = replace(known, approvals=(*known.approvals, event))
    return known


def replay_brakes(told: Iterable[Event], onto: Brakes | None = None) -> Brakes:
    """Which brakes hold after these events; whether a maintenance is over the guard says, by the server's clock."""
    known = onto or Brakes()
    for event in told:
        match event:
            case Disarm():
                known = replace(known, kill_switch=f"disarmed by {event.by}: {event.reason}", said=event)
            case Arm():
                known = replace(known, kill_switch=None, said=event)
            case MaintenanceWindow():
                until = _later_end(known, event) if event.until > event.at else None
                known = replace(known, maintenance_until=until, marked=event)
    return known


def _later_end(known: Brakes, event: MaintenanceWindow) -> datetime:
    """The later end of both: a window of ten minutes does not end another operator's two hours."""
    return max(event.until, known.maintenance_until or event.until)


def carried_brakes(held: Brakes, there: Brakes, at: datetime) -> Iterator[Disarm | MaintenanceWindow]:
    """What has to be written at another server, or in another journal, for the brakes to hold there too.

    An upgraded server has another identifier, and a disarm for the upgrade is meant for it too.
    """
    by = "pgdoctor (copied from another server or journal)"
    if held.kill_switch is not None and there.kill_switch is None:
        yield Disarm(at, held.kill_switch, by)
    until = held.maintenance_until
    if until is not None and until > max(at, there.maintenance_until or at):
        yield MaintenanceWindow(at, until, "continued", by)


def record_intent(action: Action, decision: Decision, mode: Mode, at: datetime, budgets: Mapping[str, int]) -> Intent:
    """The record of an action that is about to be carried out, and of the decision behind it."""
    return Intent(
        at=at,
        action=replace(action, waiters=action.waiters[:_MOST_NAMED], outcome=None),
        mode=mode,
        frees=decision.frees,
        frees_at_once=len(action.waiters),
        datname=decision.datname,
        application_name=decision.application_name,
        transaction_seconds=decision.transaction_seconds,
        oldest_wait_seconds=decision.oldest_wait_seconds,
        evidence=decision.evidence,
        verdicts=decision.verdicts,
        budgets=budgets,
        notes=decision.notes,
        waiting_users=decision.waiting_users,
    )


def record_settled(action: Action, at: datetime, budgets: Mapping[str, int]) -> Settled:
    """The record of what came of an action."""
    assert action.outcome is not None
    return Settled(
        at=at,
        decision=decision_id(action.victim, action.signal),
        outcome=action.outcome,
        signalled_at=action.at,
        seconds=action.seconds,
        sqlstate=action.sqlstate,
        message=action.message,
        budgets=budgets,
    )


def record_trace(action: Action, note: Finding, at: datetime) -> Trace:
    """The record of what an action has left behind."""
    return Trace(at, decision_id(action.victim, action.signal), note.kind, note.summary)


def _broken_off(event: Intent) -> Action:
    """The action as it is if nothing more is ever heard of it."""
    if event.mode == "dry_run":
        return replace(event.action, outcome="would_act")
    return replace(event.action, outcome="error", message=UNKNOWN)


def _settle_action(known: History, event: Settled) -> History:
    """The latest action of that decision, with what came of it; a dry run's outcome is of what a dry run intended."""
    actions: Sequence[Action] = known.actions
    for place in range(len(actions) - 1, -1, -1):
        action = actions[place]
        is_same = decision_id(action.victim, action.signal) == event.decision
        if is_same and (action.outcome == "would_act") == (event.outcome == "would_act"):
            concluded = replace(
                action,
                outcome=event.outcome,
                at=event.signalled_at,
                seconds=event.seconds,
                sqlstate=event.sqlstate,
                message=event.message,
            )
            return replace(known, actions=(*actions[:place], concluded, *actions[place + 1 :]))
    return known
