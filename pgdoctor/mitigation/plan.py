"""The plan: what may be done about each blocker, and every objection to it. Pure.

At most one decision of a plan is approved: after each action comes a new poll. The best cut goes first, in the
order of `diagnosis.cuts.cuts`: a queued ALTER before the reader in front of it. While such a request only lacks
time (its wait is still too short, say) or an approval, the session in front of it is not touched either.
"""

from collections.abc import Iterator
from datetime import datetime

import msgspec
from msgspec.structs import replace

from pgdoctor.diagnosis.cuts import find_cuts
from pgdoctor.mitigation import breaker
from pgdoctor.mitigation.candidate import Candidate, Case
from pgdoctor.mitigation.circumstances import AgentState
from pgdoctor.mitigation.decision import CHEAPER, NO_RULE, TURN, Decision
from pgdoctor.mitigation.guard import Guard, GuardVerdict, ask_guard
from pgdoctor.mitigation.guards import ask_guards
from pgdoctor.mitigation.guards.rule_conditions import (
    ActiveWindow,
    MaxAge,
    MinAge,
    MinBlocked,
    MinBlockedShare,
    MinSessionAge,
    MinStateAge,
    MinWait,
)
from pgdoctor.mitigation.history import VERIFY_SECONDS, Action, History, Opening, ServerLoad, Signal, WaiterKey
from pgdoctor.mitigation.rules import Mitigation, Rule
from pgdoctor.model.diagnosis import Diagnosis
from pgdoctor.model.identity import Identity
from pgdoctor.model.snapshot import Session

#: Blockers that are judged: those of a class that a rule is about, and the widest reach, first. A convoy has a
#: thousand, of which one is worth a thought.
MOST_DECISIONS = 50

#: Waits of which one must still last when the signal is sent; the server checks that.
_MOST_WAITS = 500

#: The conditions of a rule that depend on the moment. The first rule decides that meets them all.
_CONDITIONS: tuple[Guard, ...] = (
    *(MinBlocked(), MinBlockedShare(), ActiveWindow()),
    *(MinWait(), MinAge(), MaxAge(), MinStateAge(), MinSessionAge()),
)


class Plan(msgspec.Struct, frozen=True):
    """Every decision, the best cut first."""

    decisions: tuple[Decision, ...] = ()
    #: Why the breaker is open, or opens by this poll; None: it is closed.
    opening: Opening | None = None
    #: Fingerprints that came back too often, with this poll: they are not signalled.
    stops: tuple[Opening, ...] = ()

    @property
    def approved(self) -> Decision | None:
        """What is to be done now."""
        return next((decision for decision in self.decisions if decision.approved), None)

    def objections_to(self, decision: Decision) -> str | None:
        """What this plan has against a decision of an earlier one; None: it approves of the same signal."""
        now = next((each for each in self.decisions if each.id == decision.id), None)
        if now is None:
            return "the decision has changed"
        if now.approved:
            return None
        return "; ".join(f"{each.guard}: {each.objection}" for each in now.objections)

    @property
    def fit(self) -> tuple[Identity, ...]:
        """The sessions without an objection: so many polls in a row make one of them due."""
        return tuple(each.victim for each in self.decisions if each.sound and each.victim is not None)


class OnlySession(msgspec.Struct, frozen=True):
    """The one session that an operator has chosen, and the one signal; None: the signal of the rule."""

    pid: int
    signal: Signal | None = None
    #: The id of the decision that an operator has approved; None: the session as it is now.
    decision: str | None = None

    def is_about(self, decision: Decision) -> bool:
        """Whether a decision is about it."""
        return self.find_objection(decision) is None

    def find_objection(self, decision: Decision) -> str | None:
        """Why a decision is not about it."""
        if decision.pid != self.pid or self.signal not in (None, decision.signal):
            return f"only {self.signal or 'a signal'} to {self.pid} was requested"
        if self.decision not in (None, decision.id):
            return f"{self.pid} is in another statement or transaction than at the time of the question"
        return None


def make_plan(
    diagnosis: Diagnosis,
    settings: Mitigation,
    history: History,
    circumstances: AgentState | None = None,
    only: OnlySession | None = None,
) -> Plan:
    """What may be done about this diagnosis. The mode makes no difference to it.

    `only`: no other session has a turn; it still waits for a cheaper cut behind it.
    """
    recommended = {cut.pid: cut for cut in find_cuts(diagnosis.blockers, diagnosis.graph)}
    rank = {pid: place for place, pid in enumerate(recommended)}
    spoken_of = {name for rule in settings.rules for name in rule.classes}
    asked = only.pid if only else None
    blockers = sorted(diagnosis.blockers, key=lambda each: (each.pid != asked, each.classification not in spoken_of))
    cases = [
        _make_case(Candidate(each, diagnosis, recommended.get(each.node)), settings, history, circumstances, asked)
        for each in blockers[:MOST_DECISIONS]
    ]
    comers = tuple(_list_comers(cases))
    opening = breaker.find_opening(history, settings.breaker, diagnosis.captured_at, comers)
    stops = breaker.find_stops(history, settings.breaker, diagnosis.captured_at, () if opening else comers)
    decisions = [_decide_case(case, opening, stops) for case in cases]
    decisions.sort(key=lambda each: (rank.get(each.node, len(rank)), -len(each.waiters), each.node))
    return Plan(tuple(_in_turn(decisions, diagnosis, only)), opening, stops)


def intend_action(decision: Decision, diagnosis: Diagnosis) -> Action:
    """The action that an approved decision asks for, as it is before anything is sent."""
    assert decision.rule is not None
    assert decision.signal is not None
    assert decision.victim is not None
    grace = decision.rule.grace if decision.signal == "cancel" else None
    return Action(
        victim=decision.victim,
        signal=decision.signal,
        rule=decision.rule.name,
        classification=decision.classification,
        relation=decision.relation,
        waiters=decision.waiters,
        at=diagnosis.captured_at,
        patience=VERIFY_SECONDS if grace is None else float(grace),
        usename=decision.usename,
        datname=decision.datname,
        fingerprint=decision.fingerprint,
        load=ServerLoad.of(diagnosis),
    )


class _Undecided(msgspec.Struct, frozen=True):
    """A candidate that no rule speaks of."""

    candidate: Candidate


def _list_comers(cases: list[Case | _Undecided]) -> Iterator[breaker.Comer]:
    """The blockers that a rule would act upon now, but for the guards."""
    for case in cases:
        victim = case.candidate.victim
        if isinstance(case, Case) and victim is not None and _is_met(case):
            yield case.candidate.fingerprint, victim


def _decide_case(case: Case | _Undecided, opening: Opening | None, stops: tuple[Opening, ...]) -> Decision:
    candidate = case.candidate
    blocker, session = candidate.blocker, candidate.session
    decision = Decision(
        node=blocker.node,
        pid=blocker.pid,
        prepared_gid=blocker.gid,
        classification=blocker.classification,
        relation=blocker.relation,
        root=blocker.root,
        usename=session.usename,
        datname=session.datname,
        application_name=session.application_name,
        evidence=blocker.evidence,
        transaction_seconds=blocker.transaction_seconds,
        oldest_wait_seconds=blocker.oldest_wait_seconds,
        verdicts=(GuardVerdict(NO_RULE, "no rule allows a signal to this session for this class"),),
        notes=("a superuser's session, which only a superuser may signal",) if session.is_superuser else (),
        victim=candidate.victim,
    )
    if isinstance(case, _Undecided):
        return decision
    return replace(
        decision,
        rule=case.rule,
        signal=case.signal,
        frees=candidate.frees,
        fingerprint=candidate.fingerprint,
        waiters=tuple(WaiterKey(each.pid, each.query_start) for each in candidate.frees_at_once),
        counted_in_turn=case.counted_in_turn,
        waiting_users=tuple(sorted({each.usename or "?" for each in case.waiters})),
        waiting_pids=_waiting_pids(case.waiters),
        lacks_known_hold=case.lacks_known_hold,
        verdicts=(
            GuardVerdict(NO_RULE, None, f"rule {case.rule.name}"),
            *ask_guards(replace(case, opening=opening, stop=_find_stop(candidate.fingerprint, stops))),
        ),
    )


def _waiting_pids(waiters: tuple[Session, ...]) -> tuple[int, ...]:
    """The PIDs of their waits, parallel workers by their own, the longest wait first."""
    requests = [lock for each in waiters for lock in each.requests if lock.pid is not None and lock.waitstart]
    requests.sort(key=lambda lock: lock.waitstart or datetime.max)
    return tuple(dict.fromkeys(lock.pid for lock in requests if lock.pid is not None))[:_MOST_WAITS]


def _find_stop(fingerprint: str, stops: tuple[Opening, ...]) -> Opening | None:
    return next((each for each in stops if each.fingerprint == fingerprint), None)


def _make_case(
    candidate: Candidate,
    settings: Mitigation,
    history: History,
    circumstances: AgentState | None,
    named: int | None,
) -> Case | _Undecided:
    """The rule that decides, and the signal it asks for. `named`: the PID that a person has asked for, if so."""
    is_named = named is not None and candidate.blocker.pid == named

    def build_case(rule: Rule, signal: Signal) -> Case:
        amid = circumstances or AgentState()
        return Case(candidate, rule, signal, settings, history, amid, is_named=is_named)

    escalated = _find_escalated(candidate, settings, history)
    if escalated is not None:
        return build_case(escalated, "terminate")
    classification = candidate.classification
    about = [
        build_case(rule, _first_signal(rule, candidate))
        for rule in settings.rules
        if rule.is_about(classification, candidate.subject)
    ]
    return next((each for each in about if _is_met(each)), about[0] if about else _Undecided(candidate))


def _is_met(case: Case) -> bool:
    """Whether the conditions of the rule hold at this moment."""
    return all(ask_guard(condition, case).objection is None for condition in _CONDITIONS)


def _find_escalated(candidate: Candidate, settings: Mitigation, history: History) -> Rule | None:
    """The rule whose cancel of this very statement had no effect, if it goes on to terminate.

    The class may have become another one: cancelled inside a savepoint a session stays idle, and holds its locks.
    """
    victim = candidate.victim
    if victim is None:
        return None
    for action in history.on_statement(victim):
        if action.signal == "cancel" and _had_no_effect(action, candidate.diagnosis.captured_at):
            rules = (rule for rule in settings.rules if rule.name == action.rule)
            return next((rule for rule in rules if rule.action == "cancel_then_terminate"), None)
    return None


def _had_no_effect(action: Action, now: datetime) -> bool:
    """Whether a signal to a session that is still in the same statement has had time to work, and freed no session."""
    if action.outcome == "unverified":
        return (now - action.at).total_seconds() >= action.patience
    return action.outcome == "ineffective"


def _first_signal(rule: Rule, candidate: Candidate) -> Signal:
    if rule.action == "cancel_then_terminate":
        return "terminate" if candidate.is_deaf_to_cancel else "cancel"
    return rule.action


def _in_turn(decisions: list[Decision], diagnosis: Diagnosis, only: OnlySession | None) -> Iterator[Decision]:
    """The decisions, each with the verdicts of its turn: at most one is then without an objection."""
    requests: list[Decision] = []
    first: Decision | None = None
    for decision in decisions:
        if decision.rule is None:
            yield decision
            continue
        cheaper = _find_cheaper(decision, requests, diagnosis)
        may_go = decision.keeps_its_turn and cheaper is None
        turn = f"{first.pid} is signalled first" if may_go and first else None
        if only is not None and not only.is_about(decision):
            turn = only.find_objection(decision)
        elif may_go and first is None:
            first = decision
        if decision.may_come and not decision.root:
            requests.append(decision)
        yield replace(decision, verdicts=(*decision.verdicts, GuardVerdict(CHEAPER, cheaper), GuardVerdict(TURN, turn)))


def _find_cheaper(decision: Decision, requests: list[Decision], diagnosis: Diagnosis) -> str | None:
    """The queued request behind this session whose cut is the better one and only lacks time, if there is one."""
    if not (decision.root and requests):
        return None
    behind = set(diagnosis.graph.iterate_behind(decision.node))
    found = next((request for request in requests if request.node in behind), None)
    return f"a signal to {found.pid}, which queues behind it, loses less, and a rule will allow it" if found else None
