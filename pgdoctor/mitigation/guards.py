"""What speaks against signalling a blocker. One class a guard; a new one is found without being listed anywhere.

A guard's docstring is what people read about it. A guard that fails counts as an objection.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from datetime import timedelta
from enum import Enum
from functools import cache, cached_property
from typing import ClassVar

import msgspec

from pgdoctor.diagnosis import statement
from pgdoctor.diagnosis.diagnosis import Blocker, Diagnosis
from pgdoctor.diagnosis.identity import Identity
from pgdoctor.diagnosis.locks import STRONG
from pgdoctor.diagnosis.remedy import Cut
from pgdoctor.diagnosis.snapshot import Session
from pgdoctor.diagnosis.statement import Statement
from pgdoctor.diagnosis.tokens import scan
from pgdoctor.diagnosis.waits import oldest_wait
from pgdoctor.diagnosis.words import count, duration
from pgdoctor.mitigation.history import History, Signal
from pgdoctor.mitigation.rules import Mitigation, Rule

#: What pgdoctor's own sessions call themselves.
OWN_APPLICATION = "pgdoctor"

#: Waits in the middle of a message from or to the client: a cancel is not looked at before it ends.
_CLIENT_WAITS = frozenset({"ClientRead", "ClientWrite"})


class Candidate:
    """A blocker with what a cut of it would do."""

    def __init__(self, blocker: Blocker, diagnosis: Diagnosis, cut: Cut | None = None) -> None:
        self.blocker = blocker
        self.diagnosis = diagnosis
        #: What the diagnosis makes of cutting it, where it recommends to.
        self.cut = cut
        #: A session without facts stands for a prepared transaction.
        self.session: Session = blocker.session or Session(pid=0)
        self.victim: Identity | None = Identity.of(self.session) if blocker.session else None

    @cached_property
    def statement(self) -> Statement:
        """Its current statement, or its last one where it is idle."""
        return statement.read(self.session.statement or "", truncated=self.session.truncated)

    @cached_property
    def is_queued_request(self) -> bool:
        """It waits for nothing but table locks so strong that others queue behind its request."""
        requests = self.session.requests
        return bool(requests) and all(lock.locktype == "relation" and lock.mode in STRONG for lock in requests)

    @cached_property
    def may_be_cut(self) -> bool:
        """It stands where a cut can help: at a root, or as a queued request in front of others."""
        return self.blocker.root or self.is_queued_request

    @cached_property
    def frees_at_once(self) -> tuple[Session, ...]:
        """The sessions that have nobody left to wait for when it lets go."""
        if not self.may_be_cut:
            return ()
        pids = self.diagnosis.graph.released_at_once(frozenset({self.blocker.node}))
        return tuple(self.diagnosis.snapshot.sessions[pid] for pid in sorted(pids))

    @cached_property
    def frees(self) -> int:
        """How many sessions a cut of it releases, and nobody else holds back.

        For a queued request those at once: cancelling it lets them run beside whoever it waited for. For a root
        also those who follow when the released ones finish: they all wait for the one thing that ends here.
        """
        if not self.frees_at_once or not self.blocker.root:
            return len(self.frees_at_once)
        if self.cut is not None:
            return self.cut.frees_in_turn
        return len(self.diagnosis.graph.released_in_turn(frozenset({self.blocker.node})))

    @cached_property
    def oldest_wait(self) -> float | None:
        """Seconds that the longest waiter among those freed at once has waited; None where that is unknown."""
        return oldest_wait(self.diagnosis.snapshot, self.frees_at_once)

    @property
    def works_concurrently(self) -> bool:
        """It is one of the commands that say CONCURRENTLY; DETACH PARTITION has no kind of its own."""
        if self.statement.kind.endswith("_concurrently"):
            return True
        return self.statement.is_ddl and any(
            token.is_word("concurrently") for token in scan(self.session.statement or "")
        )

    @property
    def is_deaf_to_cancel(self) -> bool:
        """In its present state a cancel would have no effect."""
        return self.session.state != "active" or self.session.wait_event in _CLIENT_WAITS


class Case(msgspec.Struct, frozen=True):
    """What is to be judged: this signal to this candidate, by this rule, after all that was done before."""

    candidate: Candidate
    rule: Rule
    signal: Signal
    settings: Mitigation
    history: History

    @property
    def session(self) -> Session:
        """The candidate's session."""
        return self.candidate.session


class Heals(Enum):
    """What may lift an objection while the session stays as it is."""

    NEVER = "nothing"
    TIME = "time"
    PACE = "time, and it says nothing against the session: it only is not its turn yet"


class Guard(ABC):
    """One reason for not signalling. Stateless; its name is the value of a metric's label."""

    name: ClassVar[str]
    heals: ClassVar[Heals] = Heals.NEVER

    @abstractmethod
    def objection(self, case: Case) -> str | None:
        """Why not, with the figures that decided it; None where this guard has nothing to say."""


class Verdict(msgspec.Struct, frozen=True):
    """What one guard said. `objection` None: nothing."""

    guard: str
    objection: str | None


@cache
def guards() -> tuple[Guard, ...]:
    """One of each guard, in the order they stand in this file."""
    return tuple(guard() for guard in Guard.__subclasses__())


def judge(case: Case) -> tuple[Verdict, ...]:
    """What every guard says."""
    return tuple(Verdict(guard.name, objection(guard, case)) for guard in guards())


def objection(guard: Guard, case: Case) -> str | None:
    """What one guard says; that it failed, where it fails."""
    try:
        return guard.objection(case)
    except Exception as error:  # noqa: BLE001 - a guard that cannot judge must not let pass
        return f"the guard failed with {type(error).__name__}"


class NotAClient(Guard):
    """Only sessions of clients are signalled.

    A cancelled apply worker may disable its subscription for good; a cancelled WAL sender drops its standby.
    """

    name = "not_a_client"

    def objection(self, case: Case) -> str | None:
        if case.session.backend_type != "client backend":
            return f"it is {case.session.backend_type or 'of an unknown kind'}, not a client's session"
        return None


class Hidden(Guard):
    """A session of which a part is hidden from our role cannot be told from another one."""

    name = "hidden"

    def objection(self, case: Case) -> str | None:
        if case.candidate.victim is None or case.session.query_start is None:
            return "a part of its identity is hidden from our role, or it has none"
        return None


class Own(Guard):
    """Neither this pgdoctor nor another one."""

    name = "own_session"

    def objection(self, case: Case) -> str | None:
        if case.session.pid == case.candidate.diagnosis.snapshot.server.own_pid:
            return "it is this pgdoctor's own session"
        if case.session.application_name == OWN_APPLICATION:
            return "it is another pgdoctor's session"
        return None


class SyncRep(Guard):
    """A commit that waits for a synchronous standby.

    Cancelled, it would be reported as done without being replicated; terminated, as failed although it is done.
    """

    name = "sync_rep"

    def objection(self, case: Case) -> str | None:
        if case.session.wait_event == "SyncRep":
            return "it commits, and waits for a synchronous standby"
        return None


class Ending(Guard):
    """A transaction that is just ending frees its waiters by itself."""

    name = "ending_transaction"

    def objection(self, case: Case) -> str | None:
        if case.session.state == "active" and case.candidate.statement.ends_transaction:
            return "its transaction is just ending"
        return None


class InACycle(Guard):
    """Sessions that wait for each other in a circle: the server's deadlock detector ends it."""

    name = "cycle"

    def objection(self, case: Case) -> str | None:
        if case.candidate.blocker.in_cycle:
            return "it is part of a deadlock, which the server resolves"
        return None


class Recovery(Guard):
    """On a standby recovery conflicts have their own settings, and nobody is signalled."""

    name = "recovery"

    def objection(self, case: Case) -> str | None:
        if case.candidate.diagnosis.snapshot.server.in_recovery:
            return "the server is a standby"
        return None


class Visibility(Guard):
    """Where sessions are hidden, or evidence could not be read, the picture may be a wrong one."""

    name = "visibility"

    def objection(self, case: Case) -> str | None:
        snapshot = case.candidate.diagnosis.snapshot
        if snapshot.server.hidden_sessions:
            return f"{count(snapshot.server.hidden_sessions, 'session')} cannot be seen: grant pg_monitor"
        if snapshot.unread:
            return "a part of the evidence could not be read"
        return None


class Protected(Guard):
    """Sessions that the configuration protects; protection beats rules."""

    name = "protected"

    def objection(self, case: Case) -> str | None:
        return next(self._objections(case), None)

    @staticmethod
    def _objections(case: Case) -> Iterator[str]:
        for entry in case.settings.protect:
            if said := entry.objection(case.session):
                yield said
        classification = case.candidate.blocker.classification
        for rule in case.settings.rules:
            if (rule == case.rule or classification in rule.classes) and (said := rule.protects(case.session)):
                yield f"{said} by rule {rule.name}"


class NotQueued(Guard):
    """Of those who wait themselves only a queued request for a strong table lock is worth a signal."""

    name = "not_queued"

    def objection(self, case: Case) -> str | None:
        if not case.candidate.may_be_cut:
            return "it waits itself, and not for a table lock that others queue behind"
        return None


class Concurrently(Guard):
    """CONCURRENTLY commands hold up no reader and no writer; what is broken off has to be tidied up by hand."""

    name = "concurrently"

    def objection(self, case: Case) -> str | None:
        if case.session.state == "active" and case.candidate.works_concurrently:
            return "broken off it would leave an invalid index, or a half-detached partition, behind"
        return None


class SnapshotWait(Guard):
    """Not for the sake of a CONCURRENTLY command: it waits for every older transaction in turn, and is in no hurry."""

    name = "snapshot_wait"

    def objection(self, case: Case) -> str | None:
        freed = case.candidate.frees_at_once
        if freed and all(lock.locktype == "virtualxid" for session in freed for lock in session.requests):
            return "only a CONCURRENTLY command waits for it, and that holds up no reader and no writer"
        return None


class Futile(Guard):
    """A cancel is not sent where it has no effect: idle sessions, and those in the middle of a message."""

    name = "futile"

    def objection(self, case: Case) -> str | None:
        if case.signal == "cancel" and case.candidate.is_deaf_to_cancel:
            where = f"waiting in {case.session.wait_event}" if case.session.state == "active" else case.session.state
            return f"it is {where}: a cancel has no effect"
        return None


class Tried(Guard):
    """Each signal once for a statement; after the server has refused, none for that session."""

    name = "already_tried"

    def objection(self, case: Case) -> str | None:
        victim = case.candidate.victim
        for action in case.history.spent:
            if victim is None or action.outcome == "would_act":
                continue
            if action.victim.same_statement(victim) and action.signal == case.signal:
                return f"a {action.signal} was tried, and was {action.outcome or 'sent'}"
            same_session = (victim.pid, victim.backend_start) == (action.victim.pid, action.victim.backend_start)
            if same_session and action.outcome == "not_permitted":
                return "the server does not permit us to signal it"
        return None


class Announced(Guard):
    """A dry run says once what it would do to a statement."""

    name = "already_announced"
    heals = Heals.TIME

    def objection(self, case: Case) -> str | None:
        victim = case.candidate.victim
        if victim and any(action.outcome == "would_act" for action in case.history.on_statement(victim)):
            return "in this dry run it counts as done"
        return None


class MinBlocked(Guard):
    """The cut releases somebody, and as many as the rule asks for."""

    name = "min_blocked"

    def objection(self, case: Case) -> str | None:
        freed = case.candidate.frees
        if freed == 0:
            return "it would free nobody: everybody behind it waits for others too"
        if freed < case.rule.min_blocked:
            return f"it would free {freed}, the rule asks for {case.rule.min_blocked}"
        return None


class MinWait(Guard):
    """One of those whom it frees has waited long enough, by the server's own record of when the wait began."""

    name = "min_wait"
    heals = Heals.TIME

    def objection(self, case: Case) -> str | None:
        waited = case.candidate.oldest_wait
        if waited is None:
            return "since when they wait is unknown"
        if waited < case.rule.min_wait:
            return f"they wait since {duration(waited)}, the rule asks for {duration(case.rule.min_wait)}"
        return None


class MinAge(Guard):
    """Its transaction is old enough."""

    name = "min_age"
    heals = Heals.TIME

    def objection(self, case: Case) -> str | None:
        age, least = case.candidate.blocker.transaction_seconds, case.rule.min_age
        if least and (age is None or age < least):
            return f"its transaction is open since {duration(age)}, the rule asks for {duration(least)}"
        return None


class Budget(Guard):
    """Not more than so many actions in an hour: what keeps coming back needs a person."""

    name = "budget"
    heals = Heals.TIME

    def objection(self, case: Case) -> str | None:
        now, most = case.candidate.diagnosis.captured_at, case.settings.max_actions_per_hour
        spent = sum(now - action.at < timedelta(hours=1) for action in case.history.spent)
        return f"{count(spent, 'action')} in the last hour, allowed are {most}" if spent >= most else None


class UnderWay(Guard):
    """One action at a time: the effect of the one before has to be known first."""

    name = "under_way"
    heals = Heals.PACE

    def objection(self, case: Case) -> str | None:
        action = case.history.under_way
        return f"the {action.signal} of {action.victim.pid} is not settled yet" if action else None


class Cooldown(Guard):
    """After an action those who were released have time to run before the next one."""

    name = "cooldown"
    heals = Heals.PACE

    def objection(self, case: Case) -> str | None:
        last = next(case.history.spent, None)
        if last is None:
            return None
        elapsed = (case.candidate.diagnosis.captured_at - last.at) / timedelta(seconds=1)
        if elapsed < case.settings.cooldown:
            return f"the last action was {duration(max(elapsed, 0))} ago, the cool-down is {case.settings.cooldown}"
        return None


class Persistence(Guard):
    """It was the same session, unchanged and fit to be signalled, in so many looks in a row."""

    name = "persistence"
    heals = Heals.PACE

    def objection(self, case: Case) -> str | None:
        seen = case.history.samples.get(case.candidate.victim, 0) + 1 if case.candidate.victim else 0
        if seen < case.settings.min_samples:
            return f"it was found fit in {seen} of {case.settings.min_samples} looks in a row"
        return None
