"""What was seen and done so far, as a frozen value: the states that an incident goes through.

    seen ─▶ fit in `min_samples` polls in a row ─▶ signalled ─▶ released
                                                     │       ├▶ ineffective ─▶ (seen again; may escalate)
                                                     │       └▶ not settled yet: no other action meanwhile
                                                     ├▶ stuck           terminated, and still there; for an operator
                                                     ├▶ gone            no longer the session that was judged
                                                     ├▶ not_permitted   the server refused
                                                     ├▶ error           the server did not answer
                                                     ├▶ unverified      sent; we ended before its effect was known
                                                     ├▶ would_act       dry run
                                                     └▶ withheld        a brake was pulled; no signal was sent

Times are the server's. Success is judged by the waiters, and not by the answer of a signal function: a cancel inside
a savepoint "succeeds" and frees no session.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Literal, Self

import msgspec
from msgspec.structs import replace

from pgdoctor.mitigation.rules import Mode
from pgdoctor.model.diagnosis import Diagnosis
from pgdoctor.model.identity import Identity, Transaction
from pgdoctor.model.snapshot import Session

Outcome = Literal[
    "released",
    "ineffective",
    "stuck",
    "gone",
    "not_permitted",
    "error",
    "unverified",
    "would_act",
    "withheld",
]
Signal = Literal["cancel", "terminate"]

#: Seconds that a signal has to show its effect, where the rule does not say.
VERIFY_SECONDS = 5.0

#: For how long the server's refusal to signal a user's sessions is believed.
REFUSAL_SECONDS = 600.0

#: How long, and how many, actions are remembered.
KEPT = timedelta(hours=24)
_MOST_KEPT = 500

#: After an action: in which time growth is blamed on it, how much, and from how many more on.
_AFTERMATH = timedelta(seconds=60)
_GROWTH = 1.5
_MORE = 5


class WaiterKey(msgspec.Struct, frozen=True):
    """A session that an action is to release: it, in the statement that waits."""

    pid: int
    query_start: datetime | None


class ServerLoad(msgspec.Struct, frozen=True):
    """The load of the server at one poll."""

    blocked: int
    connections: int

    @classmethod
    def of(cls, diagnosis: Diagnosis) -> Self:
        """The load that a diagnosis shows."""
        return cls(diagnosis.blocked_sessions, diagnosis.snapshot.server.connections)


class Action(msgspec.Struct, frozen=True):
    """One signal that was decided upon. `outcome` None: it is not known yet whether it helped."""

    victim: Identity
    signal: Signal
    rule: str
    classification: str
    relation: str | None
    waiters: tuple[WaiterKey, ...]
    #: The server's clock when it was sent, or decided upon.
    at: datetime
    #: Seconds after which it counts as ineffective.
    patience: float = VERIFY_SECONDS
    outcome: Outcome | None = None
    #: From the signal to the poll that settled it.
    seconds: float | None = None
    sqlstate: str | None = None
    message: str | None = None
    #: Of the victim: what the server refused is learnt by it.
    usename: str | None = None
    #: What is the same when an application does the same thing again; empty: not known.
    fingerprint: str = ""
    #: At the poll that it was decided on; None: not known.
    load: ServerLoad | None = None
    #: What grew within a minute after it; empty: nothing.
    worsening: str = ""
    #: The database of the victim, and so of `relation`; None: not known.
    datname: str | None = None

    @property
    def counts(self) -> bool:
        """Whether it uses up budget: all but a signal that was not sent."""
        return self.outcome not in ("gone", "withheld")

    @property
    def may_have_been_sent(self) -> bool:
        """Whether the victim may have felt it."""
        return self.counts and self.outcome not in ("would_act", "not_permitted")


class Opening(msgspec.Struct, frozen=True, tag="opening", tag_field="kind"):
    """That the breaker opened, and why. Only a person's reset closes it."""

    at: datetime
    reason: str
    #: It opened where nothing was sent: it holds in dry runs, and says nothing of what signals do.
    rehearsed: bool = False
    #: What it is about, where it stops only what is known by that; empty: it stops everything.
    fingerprint: str = ""


class Reset(msgspec.Struct, frozen=True, tag="reset", tag_field="kind"):
    """That a person closed the breaker: earlier actions do not count towards it any more."""

    at: datetime
    reason: str
    by: str


class Approval(msgspec.Struct, frozen=True, tag="approval", tag_field="kind"):
    """That a person agreed to one decision, by its id."""

    decision: str
    at: datetime
    by: str


class History(msgspec.Struct, frozen=True):
    """All that a plan knows besides the current snapshot. All but the samples survives a restart."""

    #: In how many polls in a row a session was fit to be signalled, unchanged: for a cancel.
    samples: Mapping[Identity, int] = {}
    #: In how many polls in a row a transaction was fit, whatever it ran meanwhile: for a terminate.
    transaction_samples: Mapping[Transaction, int] = {}
    #: The latest last.
    actions: tuple[Action, ...] = ()
    #: The latest one, of a breaker that may have been reset since.
    opening: Opening | None = None
    #: Those of a breaker that opened in a dry run.
    rehearsal: Opening | None = None
    #: What came back too often since the latest reset, each once in earnest and once in dry runs.
    stops: tuple[Opening, ...] = ()
    #: The latest one.
    reset: Reset | None = None
    approvals: tuple[Approval, ...] = ()

    @property
    def under_way(self) -> Action | None:
        """The action whose effect is not known yet; there is at most one."""
        return next((action for action in reversed(self.actions) if action.outcome is None), None)

    @property
    def spent(self) -> Iterator[Action]:
        """The actions that count, the latest first."""
        return (action for action in reversed(self.actions) if action.counts)

    def on_statement(self, victim: Identity) -> Iterator[Action]:
        """What was done to this session in this transaction and statement, the latest first."""
        return (action for action in self.spent if action.victim.same_statement(victim))

    def on_victim(self, victim: Identity, signal: Signal) -> Iterator[Action]:
        """The same signal to this victim, the latest first: a cancel to this statement, a terminate to this
        transaction."""
        return (
            action for action in self.spent if action.signal == signal and same_victim(action.victim, victim, signal)
        )

    def count_polls(self, victim: Identity, signal: Signal) -> int:
        """In how many polls in a row it was fit: this statement for a cancel, this transaction for a terminate."""
        if signal == "terminate" and victim.transaction is not None:
            return self.transaction_samples.get(victim.transaction, 0)
        return self.samples.get(victim, 0)


def seen_in_polls(victims: Iterable[Identity], polls: int) -> History:
    """A history in which all of these sessions were fit in so many polls in a row, and nothing else happened."""
    seen = tuple(victims)
    transactions = {victim.transaction: polls for victim in seen if victim.transaction is not None}
    return History(samples=dict.fromkeys(seen, polls), transaction_samples=transactions)


def with_poll(
    history: History,
    fit: Iterable[Identity],
    now: datetime,
    *,
    load: ServerLoad | None = None,
    openings: Iterable[Opening] = (),
) -> History:
    """The history after a poll that found these sessions fit; forgets what no guard needs any more.

    `load`: that of the poll. `openings`: those of its plan; a breaker stays open until a reset.
    """
    kept = [each for each in history.actions if now - each.at < KEPT or each.outcome is None]
    seen = tuple(fit)
    transactions = {victim.transaction for victim in seen} - {None}
    found = replace(
        history,
        samples={victim: history.samples.get(victim, 0) + 1 for victim in seen},
        transaction_samples={each: history.transaction_samples.get(each, 0) + 1 for each in transactions if each},
        actions=tuple(_compare_load(each, load, now) for each in kept[-_MOST_KEPT:]),
        approvals=tuple(each for each in history.approvals if now - each.at < KEPT),
    )
    for opening in openings:
        found = with_opening(found, opening)
    return found


def with_opening(history: History, opening: Opening) -> History:
    """The history in which the breaker has opened, or has stopped one fingerprint."""
    if opening.fingerprint:
        same = opening.fingerprint, opening.rehearsed
        others = (each for each in history.stops if (each.fingerprint, each.rehearsed) != same)
        return replace(history, stops=(*others, opening))
    return replace(history, rehearsal=opening) if opening.rehearsed else replace(history, opening=opening)


def in_mode(history: History, mode: Mode) -> History:
    """The history as a run in this mode knows it: announcements of dry runs were not done, and bind only dry runs."""
    if mode != "dry_run":
        done = tuple(each for each in history.actions if each.outcome != "would_act")
        stops = tuple(each for each in history.stops if not each.rehearsed)
        return replace(history, actions=done, rehearsal=None, stops=stops)
    latest = max(filter(None, (history.opening, history.rehearsal)), key=lambda each: each.at, default=None)
    return replace(history, opening=latest)


def _compare_load(action: Action, load: ServerLoad | None, now: datetime) -> Action:
    """The action, with what has grown since it: said once, and kept."""
    before = action.load
    if load is None or before is None or action.worsening or not action.may_have_been_sent:
        return action
    if not timedelta(0) <= now - action.at <= _AFTERMATH:
        return action
    figures = {
        "blocked sessions": (before.blocked, load.blocked),
        "connections": (before.connections, load.connections),
    }
    grown = [
        f"{name} rose from {was} to {are}"
        for name, (was, are) in figures.items()
        if are > _GROWTH * was and are - was >= _MORE
    ]
    return replace(action, worsening=", ".join(grown)) if grown else action


def decision_id(victim: Identity, signal: Signal) -> str:
    """The same for a terminate of the same transaction, and for a cancel of the same session in the same state."""
    since = victim.state_change
    if signal == "terminate" and victim.xact_start is not None:
        since = victim.xact_start
    return f"{victim.pid}-{since.timestamp() * 1_000_000:.0f}-{signal}"


def same_victim(one: Identity, other: Identity, signal: Signal) -> bool:
    """Whether two signals are about the same: a cancel is about a statement, a terminate about a transaction."""
    return one.same_lasting_transaction(other) if signal == "terminate" else one.same_statement(other)


def find_approval(history: History, decision: str, now: datetime, ttl: float) -> Approval | None:
    """The approval of a decision that still holds at `now`; None where there is none."""
    return next(
        (
            each
            for each in reversed(history.approvals)
            if each.decision == decision and timedelta(0) <= now - each.at < timedelta(seconds=ttl)
        ),
        None,
    )


def refused_users(history: History, now: datetime) -> frozenset[str]:
    """The users whose sessions the server did not permit us to signal: all since the last signal that was sent."""
    users: set[str] = set()
    for action in history.spent:
        if action.outcome != "not_permitted" or now - action.at >= timedelta(seconds=REFUSAL_SECONDS):
            break
        if action.usename is not None:
            users.add(action.usename)
    return frozenset(users)


def with_action(history: History, action: Action) -> History:
    """The history with one more action."""
    return replace(history, actions=(*history.actions, action))


def with_outcome(history: History, action: Action, settled: Action) -> History:
    """The history with an action replaced by the same one with its outcome."""
    return replace(history, actions=tuple(settled if each is action else each for each in history.actions))


def verify_outcome(action: Action, diagnosis: Diagnosis) -> Action:
    """The action with its outcome, if this poll settles it.

    Released: none of its waiters waits any more for the victim in that transaction, and at least one has got past
    the wait, not just to another session that held the same row unseen (measured: of two holders only one shows).
    """
    elapsed = max((diagnosis.captured_at - action.at) / timedelta(seconds=1), 0.0)
    if not any(_waits_for(waiter, action.victim, diagnosis) for waiter in action.waiters) and not all(
        _still_waits(waiter, diagnosis) for waiter in action.waiters
    ):
        return replace(action, outcome="released", seconds=elapsed)
    if elapsed < action.patience:
        return action
    stuck = action.signal == "terminate" and _is_there(action.victim, diagnosis)
    return replace(action, outcome="stuck" if stuck else "ineffective", seconds=elapsed)


def _is_there(victim: Identity, diagnosis: Diagnosis) -> bool:
    session = diagnosis.snapshot.sessions.get(victim.pid)
    return session is not None and victim.same_session(Identity.of(session))


def _waits_for(waiter: WaiterKey, victim: Identity, diagnosis: Diagnosis) -> bool:
    if victim.pid not in diagnosis.graph.blockers_of.get(waiter.pid, ()):
        return False
    session = diagnosis.snapshot.sessions.get(victim.pid)
    # Hidden or just gone: it may still be that session.
    return session is None or Identity.of(session) is None or victim.same_transaction(Identity.of(session))


def _still_waits(waiter: WaiterKey, diagnosis: Diagnosis) -> bool:
    session: Session | None = diagnosis.snapshot.sessions.get(waiter.pid)
    return (
        session is not None and waiter.pid in diagnosis.graph.blockers_of and session.query_start == waiter.query_start
    )
