"""Rate limits: reasons to wait with an action that are not about the session."""

from datetime import timedelta

from pgdoctor.formatting import format_duration
from pgdoctor.mitigation.budgets import Budget as Purse
from pgdoctor.mitigation.budgets import compute_budgets
from pgdoctor.mitigation.candidate import Case
from pgdoctor.mitigation.guard import ClearedBy, Guard
from pgdoctor.mitigation.history import decision_id, find_approval

#: When this file's guards are asked, before those of a higher one.
ORDER = 50


class BudgetGuard(Guard):
    """A budget is used up: actions in one interval, five minutes or an hour; terminates; repetitions.

    Frequent recurrence needs a person. While a blocker exceeds its budget, no other blocker is signalled in its place.
    """

    name = "budget"
    heals = ClearedBy.RATION

    def find_objection(self, case: Case) -> str | None:
        empty = [
            f"{each.name}: {each.spent}, the limit is {each.limit}" for each in self._find_purses(case) if not each.left
        ]
        return "; ".join(empty) or None

    def format_value(self, case: Case) -> str:
        return ", ".join(f"{each.name} {each.spent} of {each.limit}" for each in self._find_purses(case))

    @staticmethod
    def _find_purses(case: Case) -> list[Purse]:
        found = compute_budgets(case.history, case.settings, case.now, case.candidate.fingerprint)
        return [each for each in found if case.signal == "terminate" or not each.only_terminates]


class ApprovalGuard(Guard):
    """The configuration requires an approval for this signal to this statement or transaction, and there is none.

    Do: use `pgdoctor mitigate approve ID`. The approval is valid for `approval_ttl`; all other guards are asked again.
    """

    name = "approval"
    heals = ClearedBy.PERSON

    def find_objection(self, case: Case) -> str | None:
        rule, victim = case.rule, case.candidate.victim
        if not (case.settings.require_approval if rule.require_approval is None else rule.require_approval):
            return None
        if victim is None:
            return "it has no complete identity, so it cannot be approved"
        name = decision_id(victim, case.signal)
        ttl = case.settings.approval_ttl if rule.approval_ttl is None else rule.approval_ttl
        if find_approval(case.history, name, case.now, ttl) is None:
            return f"it waits for approval: pgdoctor mitigate approve {name}"
        return None

    def format_value(self, case: Case) -> str:
        victim = case.candidate.victim
        given = [
            each for each in case.history.approvals if victim and each.decision == decision_id(victim, case.signal)
        ]
        return f"approved by {given[-1].by}" if given else "no approval"


class UnderWay(Guard):
    """Another action is in progress; its effect has to be known first."""

    name = "under_way"
    heals = ClearedBy.PACE

    def find_objection(self, case: Case) -> str | None:
        action = case.history.under_way
        return f"the {action.signal} of {action.victim.pid} is in progress" if action else None

    def format_value(self, case: Case) -> str:
        return "one" if case.history.under_way else "none"


class Cooldown(Guard):
    """The last action was too recent: released sessions need time to run before the next action."""

    name = "cooldown"
    heals = ClearedBy.PACE

    def find_objection(self, case: Case) -> str | None:
        elapsed = self._seconds_elapsed(case)
        if elapsed is not None and elapsed < case.settings.cooldown:
            return (
                f"the last action was {format_duration(max(elapsed, 0))} ago; the cool-down is {case.settings.cooldown}"
            )
        return None

    def format_value(self, case: Case) -> str:
        elapsed = self._seconds_elapsed(case)
        since = "no action so far" if elapsed is None else f"{format_duration(max(elapsed, 0))} since the last one"
        return f"{since}, at least {case.settings.cooldown}"

    @staticmethod
    def _seconds_elapsed(case: Case) -> float | None:
        last = next(case.history.spent, None)
        return None if last is None else (case.now - last.at) / timedelta(seconds=1)


class Persistence(Guard):
    """Too few polls in a row found it eligible: this transaction for a terminate, this statement for a cancel."""

    name = "persistence"
    heals = ClearedBy.PACE

    def find_objection(self, case: Case) -> str | None:
        seen = self._count_seen(case)
        if seen < case.settings.min_samples:
            return f"it was eligible in {seen} of {case.settings.min_samples} polls in a row"
        return None

    def format_value(self, case: Case) -> str:
        return f"{self._count_seen(case)} of {case.settings.min_samples} polls"

    @staticmethod
    def _count_seen(case: Case) -> int:
        victim = case.candidate.victim
        return case.history.count_polls(victim, case.signal) + 1 if victim else 0
