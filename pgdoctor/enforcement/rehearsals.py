"""Rehearsed actions at one server: begun where a plan would signal, followed until their blockers end."""

from collections.abc import Iterator
from typing import get_args

from pgdoctor.mitigation.decision import Decision
from pgdoctor.mitigation.guards.permission import NotPermitted
from pgdoctor.mitigation.plan import Plan, intend_action
from pgdoctor.mitigation.rehearsal import (
    Rehearsal,
    RehearsalResult,
    RehearsalScore,
    begin_rehearsal,
    continue_rehearsal,
    end_rehearsal,
    score_refusal,
)
from pgdoctor.mitigation.rules import Mode
from pgdoctor.model.diagnosis import Diagnosis

#: Rehearsals that are followed at once. A plan approves of one decision a poll.
_MOST_FOLLOWED = 50

#: Refused victims that are remembered, so that each is counted once.
_MOST_REFUSED = 200


class RehearsalWatch:
    """Counts from the start of the process on."""

    def __init__(self) -> None:
        #: Scores by result; every result is there as 0.
        self.counts: dict[RehearsalResult, int] = dict.fromkeys(get_args(RehearsalResult), 0)
        #: Time of waiting sessions that actions with the result `helped` would have saved.
        self.session_seconds = 0.0
        self._followed: list[Rehearsal] = []
        #: The decisions that the server would have refused, the latest last.
        self._refused: dict[str, None] = {}

    def follow(self, diagnosis: Diagnosis) -> list[RehearsalScore]:
        """The scores of the rehearsals whose blockers no longer block."""
        found = [continue_rehearsal(each, diagnosis) for each in self._followed]
        self._followed = [each for each in found if isinstance(each, Rehearsal)]
        return [self._count_score(each) for each in found if isinstance(each, RehearsalScore)]

    def begin(self, plan: Plan, diagnosis: Diagnosis, mode: Mode) -> list[RehearsalScore]:
        """Rehearse the approved decision; the scores of those that the server would refuse."""
        decision = plan.approved
        if decision is not None and not self._is_followed(decision) and len(self._followed) < _MOST_FOLLOWED:
            self._followed.append(begin_rehearsal(intend_action(decision, diagnosis), mode, decision.frees))
        return [
            self._count_score(score_refusal(intend_action(each, diagnosis), mode, each.frees))
            for each in self._list_refused(plan)
        ]

    def end(self) -> list[RehearsalScore]:
        """Follow no rehearsal any more; their scores as of the last poll."""
        ended, self._followed = self._followed, []
        return [self._count_score(end_rehearsal(each)) for each in ended]

    def _is_followed(self, decision: Decision) -> bool:
        victim = decision.victim
        return victim is not None and any(
            each.action.victim.same_lasting_transaction(victim) for each in self._followed
        )

    def _list_refused(self, plan: Plan) -> Iterator[Decision]:
        """The decisions to which only the server's refusal objects, each once."""
        for decision in plan.decisions:
            objections = [each.guard for each in decision.objections]
            if decision.id is None or objections != [NotPermitted.name] or decision.id in self._refused:
                continue
            self._refused[decision.id] = None
            if len(self._refused) > _MOST_REFUSED:
                del self._refused[next(iter(self._refused))]
            yield decision

    def _count_score(self, score: RehearsalScore) -> RehearsalScore:
        self.counts[score.result] += 1
        if score.result == "helped":
            self.session_seconds += score.session_seconds
        return score
