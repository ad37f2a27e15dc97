"""Carries plans out, one action at a time, and watches whether those who waited were released.

It takes nothing but a plan of its own making: there is no way to a signal past the guards. Each action is told in
two JSON lines, before (intent) and after (outcome); what a statement says is in neither.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any, get_args

import msgspec
from msgspec.structs import replace

from pgdoctor.diagnosis.diagnosis import Diagnosis
from pgdoctor.diagnosis.former_holders import worth_a_second_look
from pgdoctor.diagnosis.identity import Identity
from pgdoctor.mitigation.circumstances import Circumstances, mode_in_force
from pgdoctor.mitigation.history import (
    Action,
    History,
    Load,
    Outcome,
    Signal,
    acted,
    concluded,
    looked,
    verified,
)
from pgdoctor.mitigation.plan import REASONS, Decision, Plan, intended, plan
from pgdoctor.mitigation.rules import Mitigation
from pgdoctor.postgres.collect import Collector
from pgdoctor.postgres.door import Door
from pgdoctor.postgres.signal import Reply, send
from pgdoctor.postgres.watch import Watch

log = logging.getLogger("pgdoctor.mitigation")

#: Sessions from which on a plan is made in a thread.
_MANY_SESSIONS = 100

_Key = tuple[str, str, str]


class Mitigator:
    """Considers one diagnosis after the other, and acts as its settings allow.

    `off` does nothing; `observe` judges, and counts refusals; `dry_run` does all but send; `enforce` signals.
    """

    def __init__(self, settings: Mitigation) -> None:
        self.settings = settings
        #: Of the latest diagnosis.
        self.plan = Plan()
        self.history = History()
        #: The actions whose outcome the latest diagnosis has shown.
        self.settled: tuple[Action, ...] = ()
        self._disarmed = False
        self._actions: dict[_Key, int] = {}
        self._refused = dict.fromkeys(REASONS, 0)
        self._standing: dict[object, frozenset[str]] = {}
        self._told: dict[object, frozenset[str]] = {}
        self.reconfigure(settings)

    @property
    def actions(self) -> Mapping[_Key, int]:
        """Actions by signal, rule and outcome; all that may come up are there as 0."""
        return self._actions

    @property
    def refused(self) -> Mapping[str, int]:
        """Refusals by reason, one for each transaction that it speaks against; all reasons are there as 0."""
        return self._refused

    @property
    def may_act(self) -> bool:
        """Whether decisions are carried out, or at least announced."""
        return self.settings.mode in ("dry_run", "enforce") and not self._disarmed

    def reconfigure(self, settings: Mitigation) -> None:
        """Go on with other settings; what was counted and done so far stays."""
        self.settings = settings
        for rule in settings.rules:
            for signal in get_args(Signal):
                for outcome in get_args(Outcome):
                    self._actions.setdefault((signal, rule.name, outcome), 0)

    def disarm(self, reason: str) -> None:
        """Signal nobody any more, whatever the settings come to say. An action under way is still watched."""
        self._disarmed = True
        log.warning("mitigation disarmed", extra={"reason": reason})

    async def consider(self, diagnosis: Diagnosis, door: Door) -> None:
        """Settle the action under way, judge every blocker, and carry out at most one decision."""
        self.settled = ()
        self._settle(diagnosis)
        if self.settings.mode == "off":
            return
        self.plan = await self._plan(diagnosis)
        self._note_refusals()
        load, opening = Load.of(diagnosis), self.plan.opening
        self.history = looked(self.history, self.plan.fit, diagnosis.captured_at, load=load, opening=opening)
        # What was just settled may change the picture, and the next look tells whether a row changes hands.
        if self.may_act and not self.settled and not worth_a_second_look(diagnosis):
            await self._carry_out(diagnosis, door)

    async def _plan(self, diagnosis: Diagnosis) -> Plan:
        if len(diagnosis.snapshot.sessions) < _MANY_SESSIONS:
            return plan(diagnosis, self.settings, self.history)
        # A convoy of a thousand takes a fifth of a second; whoever else lives in this loop is not held up by it.
        return await asyncio.to_thread(plan, diagnosis, self.settings, self.history)

    def _settle(self, diagnosis: Diagnosis) -> None:
        action = self.history.under_way
        if action is None:
            return
        settled = verified(action, diagnosis)
        if settled.outcome is not None:
            self.history = concluded(self.history, action, settled)
            self._tell_outcome(settled)

    async def _carry_out(self, diagnosis: Diagnosis, door: Door) -> None:
        decision = self.plan.approved
        if decision is None:
            return
        action = intended(decision, diagnosis)
        mode = mode_in_force(self.settings, Circumstances(), diagnosis.captured_at)
        log.info("mitigation intent", extra=_intent(decision, action, mode))
        if mode == "dry_run":
            self._record(replace(action, outcome="would_act"))
            return
        assert decision.rule is not None
        reply = Reply("error", message="broken off, it is not known whether it was sent")
        try:
            reply = await send(door, action.signal, action.victim, min_wait=decision.rule.min_wait)
        finally:
            self._record(_answered(action, reply))

    def _record(self, action: Action) -> None:
        self.history = acted(self.history, action)
        if action.outcome is not None:
            self._tell_outcome(action)

    def _tell_outcome(self, action: Action) -> None:
        assert action.outcome is not None
        self.settled += (action,)
        key = (action.signal, action.rule, action.outcome)
        self._actions[key] = self._actions.get(key, 0) + 1
        level = logging.INFO if action.outcome in ("released", "would_act", "gone") else logging.WARNING
        log.log(level, "mitigation outcome", extra=_outcome(action))

    def _note_refusals(self) -> None:
        """Count each reason once for a transaction, and tell the lasting ones when they change."""
        standing: dict[object, frozenset[str]] = {}
        told: dict[object, frozenset[str]] = {}
        for decision in self.plan.decisions:
            key, reasons = _subject(decision), frozenset(verdict.guard for verdict in decision.objections)
            for reason in reasons - self._standing.get(key, frozenset()):
                self._refused[reason] += 1
            standing[key] = reasons
            if decision.rule is None or decision.pending or not self.may_act:
                continue
            told[key] = reasons
            if reasons != self._told.get(key):
                log.info("mitigation refused", extra=_facts(decision) | {"objections": _said(decision)})
        self._standing, self._told = standing, told


async def carry_out(
    mitigator: Mitigator, door: Door, *, most: int = 10, patience: float = 0.0, pause: float = 0.2
) -> AsyncIterator[Action]:
    """Look, act, look again, until nothing is left that may be done; yields each action once it is settled.

    Ends after `most` actions. What only lacks time, such as a wait that is still too short, is waited for
    `patience` seconds; `pause` is what lies between two looks. Raises ServerError where the server cannot be asked.
    """
    watch = Watch(Collector(door))
    give_up = time.monotonic() + patience
    done = 0
    while done < most:
        await mitigator.consider(await watch.look(), door)
        for action in mitigator.settled:
            done += 1
            yield action
        if mitigator.history.under_way is None and not (mitigator.may_act and _goes_on(mitigator.plan, give_up)):
            return
        await asyncio.sleep(pause)


def _goes_on(plan: Plan, give_up: float) -> bool:
    """Whether something is left that may be done, now or within our patience."""
    may_wait = time.monotonic() < give_up
    return any(each.rule is not None and (each.fit or (each.pending and may_wait)) for each in plan.decisions)


def _answered(action: Action, reply: Reply) -> Action:
    at = reply.at or action.at
    outcome: Outcome | None = None if reply.answer == "sent" else reply.answer
    return replace(action, at=at, outcome=outcome, sqlstate=reply.sqlstate, message=reply.message)


def _subject(decision: Decision) -> object:
    """What a refusal is about: a transaction, so that a busy session is not counted for every statement."""
    victim = decision.victim
    return (victim.pid, victim.backend_start, victim.xact_start) if victim else decision.node


def _said(decision: Decision) -> dict[str, str | None]:
    return {verdict.guard: verdict.objection for verdict in decision.objections}


def _facts(decision: Decision) -> dict[str, Any]:
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


def _intent(decision: Decision, action: Action, mode: str) -> dict[str, Any]:
    return {
        "decision": _decision_id(action.victim),
        "mode": mode,
        **_facts(decision),
        "identity": msgspec.to_builtins(action.victim),
        "frees_at_once": [waiter.pid for waiter in action.waiters],
        "oldest_wait_seconds": decision.oldest_wait_seconds,
        "transaction_seconds": decision.transaction_seconds,
        "evidence": list(decision.evidence),
        "guards_passed": [verdict.guard for verdict in decision.verdicts],
        "notes": list(decision.notes),
    }


def _outcome(action: Action) -> dict[str, Any]:
    return {
        "decision": _decision_id(action.victim),
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


def _decision_id(victim: Identity) -> str:
    """The same for intent and outcome, and for no other session in the same state."""
    return f"{victim.pid}-{victim.state_change.timestamp() * 1_000_000:.0f}"
