"""What mitigation says in the log and counts: each action before and after, each refusal once. No statement's text."""

import logging
from collections.abc import Mapping
from typing import Any, get_args

import msgspec

from pgdoctor.mitigation.audit_records import Intent
from pgdoctor.mitigation.decision import REASONS, Decision
from pgdoctor.mitigation.history import Action, Outcome, Signal, decision_id
from pgdoctor.mitigation.plan import Plan
from pgdoctor.mitigation.rules import Mitigation

log = logging.getLogger("pgdoctor.mitigation")

#: Outcomes that need no attention.
_QUIET = ("released", "would_act", "gone")

#: Names in one line of the log.
_MOST_TOLD = 20

ActionKey = tuple[str, str, str]


class ActionLog:
    """Counts from the start of the process on."""

    def __init__(self) -> None:
        #: Actions by signal, rule and outcome; all that may come up are there as 0.
        self.actions: dict[ActionKey, int] = {}
        #: Refusals by reason, one for each transaction that it objects to; all reasons are there as 0.
        self.refused = dict.fromkeys(REASONS, 0)
        self._standing: dict[object, frozenset[str]] = {}
        self._told: dict[object, frozenset[str]] = {}
        self._unresolved: tuple[str, ...] = ()

    def prepare_counters(self, settings: Mitigation) -> None:
        """Have everything ready as 0 that these rules may lead to; their mistakes are logged again."""
        self._unresolved = ()
        for rule in settings.rules:
            for signal in get_args(Signal):
                for outcome in get_args(Outcome):
                    self.actions.setdefault((signal, rule.name, outcome), 0)

    def record_intent(self, decision: Decision, intent: Intent) -> None:
        """That something is about to be done."""
        log.info("mitigation intent", extra=_intent_facts(decision, intent))

    def record_brake(self, pulled: str | None) -> None:
        """Log that an operator has disarmed all pgdoctors of our role at the server, or armed them again."""
        if pulled is None:
            log.warning("mitigation armed again at the server")
        else:
            log.warning("mitigation disarmed at the server", extra={"why": pulled, "until": "pgdoctor mitigate arm"})

    def record_outcome(self, action: Action) -> None:
        """What came of it."""
        assert action.outcome is not None
        key = (action.signal, action.rule, action.outcome)
        self.actions[key] = self.actions.get(key, 0) + 1
        level = logging.INFO if action.outcome in _QUIET else logging.WARNING
        log.log(level, "mitigation outcome", extra=_outcome_facts(action))

    def record_refusals(self, plan: Plan, *, aloud: bool) -> None:
        """Count each reason once for a transaction, and tell the lasting ones, `aloud`, when they change."""
        standing: dict[object, frozenset[str]] = {}
        told: dict[object, frozenset[str]] = {}
        for decision in plan.decisions:
            key, reasons = _refusal_subject(decision), frozenset(verdict.guard for verdict in decision.objections)
            for reason in reasons - self._standing.get(key, frozenset()):
                self.refused[reason] += 1
            standing[key] = reasons
            if decision.rule is None or not decision.lasting or not aloud:
                continue
            told[key] = decision.lasting
            if decision.lasting != self._told.get(key):
                log.info(
                    "mitigation refused", extra=_decision_facts(decision) | {"objections": _list_objections(decision)}
                )
        self._standing, self._told = standing, told

    def record_unresolved(self, unresolved: tuple[str, ...], *, is_allowed: bool) -> None:
        """Say which protections name what the server does not have, when that changes."""
        if unresolved and unresolved != self._unresolved:
            consequence = "these protections have no effect" if is_allowed else "no session is signalled"
            told = {"unresolved": list(unresolved[:_MOST_TOLD]), "number": len(unresolved), "consequence": consequence}
            log.warning("protections name objects that do not exist", extra=told)
        elif self._unresolved and not unresolved:
            log.info("all protected names exist")
        self._unresolved = unresolved


def _refusal_subject(decision: Decision) -> object:
    """What a refusal is about: a transaction, so that a busy session is not counted for every statement."""
    victim = decision.victim
    return (victim.pid, victim.backend_start, victim.xact_start) if victim else decision.node


def _list_objections(decision: Decision) -> Mapping[str, str | None]:
    return {verdict.guard: verdict.objection for verdict in decision.objections}


def _decision_facts(decision: Decision) -> dict[str, Any]:
    return {
        "signal": decision.signal,
        "rule": decision.rule.name if decision.rule else None,
        "class": decision.classification,
        "pid": decision.pid,
        "relation": decision.relation,
        "usename": decision.usename,
        "datname": decision.datname,
        "application_name": decision.application_name,
        "frees": decision.frees,
    }


def _intent_facts(decision: Decision, intent: Intent) -> dict[str, Any]:
    return {
        "decision": intent.decision,
        "mode": intent.mode,
        **_decision_facts(decision),
        "identity": msgspec.to_builtins(intent.action.victim),
        "frees_at_once": [waiter.pid for waiter in decision.waiters],
        "oldest_wait_seconds": decision.oldest_wait_seconds,
        "transaction_seconds": decision.transaction_seconds,
        "evidence": list(decision.evidence),
        "guards_passed": [verdict.guard for verdict in decision.verdicts],
        "notes": list(decision.notes),
        "waiting_users": list(decision.waiting_users),
        "budgets_left": dict(intent.budgets),
    }


def _outcome_facts(action: Action) -> dict[str, Any]:
    return {
        "decision": decision_id(action.victim, action.signal),
        "outcome": action.outcome,
        "signal": action.signal,
        "rule": action.rule,
        "class": action.classification,
        "relation": action.relation,
        "pid": action.victim.pid,
        "identity": msgspec.to_builtins(action.victim),
        "signalled_at": action.at,
        "seconds": action.seconds,
        "sqlstate": action.sqlstate,
        "server_said": action.message,
    }
