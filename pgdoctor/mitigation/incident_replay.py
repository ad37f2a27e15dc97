"""What rules would have done in a recorded incident, from its stored snapshots. Pure, and deterministic.

The snapshots are few: at most a dozen of an incident. Rules are asked at each of them as if every session had been seen
in enough polls. An action counts as not sent, so that its blocker goes on, and is judged as a rehearsal is.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta

import msgspec
from msgspec.structs import replace

from pgdoctor.mitigation.decision import NO_RULE, Decision
from pgdoctor.mitigation.history import History, in_mode, seen_in_polls, with_action
from pgdoctor.mitigation.plan import Plan, intend_action, make_plan
from pgdoctor.mitigation.rehearsal import (
    Rehearsal,
    RehearsalScore,
    begin_rehearsal,
    continue_rehearsal,
    end_rehearsal,
)
from pgdoctor.mitigation.rules import Mitigation
from pgdoctor.model.diagnosis import Diagnosis
from pgdoctor.model.identity import Identity


class IncidentReplay(msgspec.Struct, frozen=True):
    """What one set of rules would have done in one incident. Seconds are lower bounds."""

    #: The rehearsed actions, in the order of their decisions.
    scores: tuple[RehearsalScore, ...]
    #: From the beginning of the incident to the first action; None: there was none.
    seconds_to_act: float | None
    #: Guards that objected to a rule's action, each with the number of sessions that it spared.
    refusals: Mapping[str, int]

    @property
    def session_seconds(self) -> float:
        """Waiting that the actions would have saved."""
        return sum(each.session_seconds for each in self.scores if each.result == "helped")


def replay_incident(diagnoses: Sequence[Diagnosis], settings: Mitigation, started: datetime) -> IncidentReplay:
    """Ask the rules at each stored snapshot of an incident, in the order of time."""
    history, followed, scores = History(), list[Rehearsal](), list[RehearsalScore]()
    spared: dict[str, set[object]] = {}
    for diagnosis in diagnoses:
        now = [continue_rehearsal(each, diagnosis, longest_gap=None) for each in followed]
        scores += [each for each in now if isinstance(each, RehearsalScore)]
        followed = [each for each in now if isinstance(each, Rehearsal)]
        plan = make_plan(diagnosis, settings, _know_sessions(diagnosis, settings, history))
        for guard, victim in _list_objections(plan):
            spared.setdefault(guard, set()).add(victim)
        if plan.approved is not None:
            begun = _rehearse_decision(plan.approved, diagnosis)
            history = with_action(history, replace(begun.action, outcome="would_act"))
            followed.append(begun)
    scores += [end_rehearsal(each) for each in followed]
    scores.sort(key=lambda score: (score.decided_at, score.decision))
    first = scores[0].decided_at - started if scores else None
    return IncidentReplay(
        scores=tuple(scores),
        seconds_to_act=None if first is None else round(max(first / timedelta(seconds=1), 0.0), 3),
        refusals=Counter({guard: len(victims) for guard, victims in sorted(spared.items())}),
    )


def _know_sessions(diagnosis: Diagnosis, settings: Mitigation, history: History) -> History:
    """The history with every session of the snapshot seen in as many polls as the rules ask for."""
    victims = filter(None, map(Identity.of, diagnosis.snapshot.sessions.values()))
    seen = seen_in_polls(victims, settings.min_samples)
    known = replace(history, samples=seen.samples, transaction_samples=seen.transaction_samples)
    return in_mode(known, "dry_run")


def _rehearse_decision(decision: Decision, diagnosis: Diagnosis) -> Rehearsal:
    return begin_rehearsal(intend_action(decision, diagnosis), "dry_run", decision.frees)


def _list_objections(plan: Plan) -> Iterator[tuple[str, object]]:
    """The guards that object for good to an action of a rule, each with the transaction that it spares."""
    for decision in plan.decisions:
        victim = decision.victim
        for guard in decision.lasting - {NO_RULE}:
            yield guard, (victim and (victim.pid, victim.backend_start, victim.xact_start)) or decision.node
