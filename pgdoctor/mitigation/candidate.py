"""A blocker with what a cut of it would do, and the case for it: which signal, by which rule, after what."""

import hashlib
from datetime import datetime
from functools import cached_property

import msgspec

from pgdoctor.diagnosis.blocker.deafness import explain_deafness
from pgdoctor.diagnosis.blocker.known_hold import KnownHold
from pgdoctor.diagnosis.cuts import Cut
from pgdoctor.mitigation.circumstances import AgentState
from pgdoctor.mitigation.history import History, Opening, Signal
from pgdoctor.mitigation.match import Subject
from pgdoctor.mitigation.rules import Mitigation, Rule
from pgdoctor.model.diagnosis import Blocker, Diagnosis
from pgdoctor.model.identity import Identity
from pgdoctor.model.lock_modes import STRONG
from pgdoctor.model.snapshot import Session
from pgdoctor.model.wait_graph import Node
from pgdoctor.model.waits import oldest_lock_wait
from pgdoctor.sqltext import statement
from pgdoctor.sqltext.lexer import scan_tokens
from pgdoctor.sqltext.redact import redact
from pgdoctor.sqltext.statement import Statement


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
    def subject(self) -> Subject:
        """What rules and protections are asked about."""
        return Subject(self.session, self.diagnosis.snapshot)

    @property
    def classification(self) -> str:
        """The class that rules name. An advisory lock is its owner's, also while the holder is idle in transaction."""
        blocker = self.blocker
        is_mutex = "advisory_lock" in blocker.also and blocker.recommendation.action == "none"
        return "advisory_lock" if is_mutex and self.is_mostly_idle else blocker.classification

    @cached_property
    def fingerprint(self) -> str:
        """What stays the same when an application does the same thing again.

        The relation where it is known, else a digest of the statement without its values.
        """
        session, where = self.session, self.blocker.relation
        if where is None:
            text = redact(session.statement or "")
            where = f"statement-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
        return " ".join((self.blocker.classification, where, session.usename or "?", session.application_name or "?"))

    @cached_property
    def statement(self) -> Statement:
        """Its current statement, or its last one where it is idle."""
        return statement.read_statement(self.session.statement or "", truncated=self.session.truncated)

    @cached_property
    def is_queued_request(self) -> bool:
        """It waits for nothing but table locks so strong that others queue behind its request."""
        return waits_for_a_strong_lock(self.session)

    @cached_property
    def may_be_cut(self) -> bool:
        """It stands where a cut can help: at a root, or as a queued request in front of others."""
        return self.blocker.root or self.is_queued_request

    @cached_property
    def frees_at_once(self) -> tuple[Session, ...]:
        """The sessions that are no longer blocked when it releases its locks."""
        if not self.may_be_cut:
            return ()
        pids = self.diagnosis.graph.released_at_once(frozenset({self.blocker.node}))
        return tuple(self.diagnosis.snapshot.sessions[pid] for pid in sorted(pids))

    @cached_property
    def frees(self) -> int:
        """How many sessions a cut of it releases that no other session blocks.

        For a queued request those at once: after its cancel they run beside its own blocker. For a root also those
        that follow when the released ones finish: they all wait for the lock that ends here.
        """
        if not self.frees_at_once or not self.blocker.root:
            return len(self.frees_at_once)
        if self.cut is not None:
            return self.cut.frees_in_turn
        return len(self.diagnosis.graph.released_in_turn(frozenset({self.blocker.node})))

    @cached_property
    def released(self) -> frozenset[Node]:
        """All sessions that a cut of it releases, at once and, for a root, in turn."""
        cut = frozenset({self.blocker.node})
        graph = self.diagnosis.graph
        return graph.released_in_turn(cut) if self.blocker.root else graph.released_at_once(cut)

    @cached_property
    def oldest_wait(self) -> float | None:
        """Seconds that the longest waiter among those freed at once has waited; None where that is unknown."""
        return oldest_lock_wait(self.diagnosis.snapshot, self.frees_at_once)

    @cached_property
    def stands_before_a_queue(self) -> bool:
        """All that it would free at once are queued requests that others stand behind."""
        graph = self.diagnosis.graph
        return bool(self.frees_at_once) and all(
            waits_for_a_strong_lock(each) and graph.count_blocked(each.pid) for each in self.frees_at_once
        )

    @property
    def works_concurrently(self) -> bool:
        """It is one of the commands that say CONCURRENTLY; DETACH PARTITION has no kind of its own."""
        if self.statement.kind.endswith("_concurrently"):
            return True
        return self.statement.is_ddl and any(
            token.is_word("concurrently") for token in scan_tokens(self.session.statement or "")
        )

    @property
    def is_mostly_idle(self) -> bool:
        """It is idle in transaction, now or in most of the last polls: a statement of it is over before a cancel
        comes."""
        return self.blocker.classification == "idle_in_transaction"

    @property
    def is_deaf_to_cancel(self) -> bool:
        """In its present state a cancel would have no effect."""
        return self.is_mostly_idle or explain_deafness(self.session) is not None


class Case(msgspec.Struct, frozen=True, dict=True):
    """What is to be judged: this signal to this candidate, by this rule, after all that was done before."""

    candidate: Candidate
    rule: Rule
    signal: Signal
    settings: Mitigation
    history: History
    circumstances: AgentState = AgentState()
    #: Why the breaker is open; None: it is closed.
    opening: Opening | None = None
    #: Why no session of this fingerprint is signalled; None: it is not stopped.
    stop: Opening | None = None
    #: A person has named this session, by its PID.
    is_named: bool = False

    @property
    def now(self) -> datetime:
        """The server's clock at the snapshot that is judged."""
        return self.candidate.diagnosis.captured_at

    @property
    def session(self) -> Session:
        """The candidate's session."""
        return self.candidate.session

    def objection_to(self, waiter: Session) -> str | None:
        """Why a wait of this session does not count; None where it does."""
        if self.rule.names_waiters:
            return None if self.rule.counts_wait(waiter) else "the rule counts other waiters"
        return self.circumstances.uncounted.get(waiter.pid)

    @cached_property
    def waiters(self) -> tuple[Session, ...]:
        """The sessions that it frees at once and whose waits count: they decide."""
        return tuple(each for each in self.candidate.frees_at_once if self.objection_to(each) is None)

    @cached_property
    def frees(self) -> int:
        """How many of the sessions that it frees count."""
        candidate = self.candidate
        if not self.waiters or not (self.rule.names_waiters or self.circumstances.uncounted):
            return candidate.frees if self.waiters else 0
        sessions = candidate.diagnosis.snapshot.sessions
        left_out = sum(self.objection_to(sessions[node]) is not None for node in candidate.released if node in sessions)
        return candidate.frees - left_out

    @cached_property
    def counted_in_turn(self) -> tuple[int, ...]:
        """The sessions that it frees in turn, where it matters to the rule how many they are."""
        if self.rule.min_blocked <= 1 and not self.rule.min_blocked_share:
            return ()
        at_once = {each.pid for each in self.candidate.frees_at_once}
        sessions = self.candidate.diagnosis.snapshot.sessions
        return tuple(sorted(node for node in self.candidate.released - at_once if node in sessions))

    @cached_property
    def oldest_wait(self) -> float | None:
        """Seconds that the longest waiter that counts has waited; None where that is unknown."""
        return oldest_lock_wait(self.candidate.diagnosis.snapshot, self.waiters)

    @cached_property
    def known_hold(self) -> float | None:
        """Seconds for which the candidate is known to have blocked one of them."""
        return KnownHold(self.candidate.blocker.node, self.candidate.diagnosis.snapshot).measure_seconds(self.waiters)

    @cached_property
    def longest_wait_for_it(self) -> float | None:
        """Seconds of the longest wait that counts, as far as it is known to be a wait for the candidate."""
        return KnownHold(self.candidate.blocker.node, self.candidate.diagnosis.snapshot).longest_wait(self.waiters)

    @property
    def lacks_known_hold(self) -> bool:
        """They have waited for as long as the rule asks for, but not for the candidate, as far as is known."""
        waited, least = self.oldest_wait, self.rule.min_wait
        if self.is_named or waited is None or waited < least:
            return False
        return (self.longest_wait_for_it or 0.0) < least

    def seconds_since(self, moment: datetime | None) -> float | None:
        """Seconds from a moment to that snapshot; None if the moment is unknown."""
        return self.candidate.diagnosis.snapshot.seconds_since(moment)


def waits_for_a_strong_lock(session: Session) -> bool:
    """Whether it waits for nothing but table locks so strong that others queue behind the request."""
    requests = session.requests
    return bool(requests) and all(lock.locktype == "relation" and lock.mode in STRONG for lock in requests)
