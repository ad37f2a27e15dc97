"""How much, how often, one after the other: what is against acting now, and nothing against the session."""

from datetime import timedelta

from pgdoctor.diagnosis.words import duration
from pgdoctor.mitigation.budgets import Budget as Purse
from pgdoctor.mitigation.budgets import budgets
from pgdoctor.mitigation.candidate import Case
from pgdoctor.mitigation.guard import Guard, Heals
from pgdoctor.mitigation.history import approved, decision_id

#: When this file's guards are asked, before those of a higher one.
ORDER = 50


class Budget(Guard):
    """Not more than so many actions at once, in five minutes, in an hour; terminates, and repetitions, apart.

    What keeps coming back needs a person. While one is out of its budget, nobody else goes in its stead.
    """

    name = "budget"
    heals = Heals.RATION

    def objection(self, case: Case) -> str | None:
        empty = [f"{each.name}: {each.spent}, allowed are {each.limit}" for each in self._asked(case) if not each.left]
        return "; ".join(empty) or None

    def value(self, case: Case) -> str:
        return ", ".join(f"{each.name} {each.spent} of {each.limit}" for each in self._asked(case))

    @staticmethod
    def _asked(case: Case) -> list[Purse]:
        found = budgets(case.history, case.settings, case.now, case.candidate.fingerprint)
        return [each for each in found if case.signal == "terminate" or not each.only_terminates]


class Approval(Guard):
    """Where the configuration asks for a person's word, somebody has given it for this cancel of this statement,
    or for this terminate of this transaction.

    Do: `pgdoctor mitigate approve ID`. It holds for `approval_ttl`, and all other guards are asked again.
    """

    name = "approval"
    heals = Heals.PERSON

    def objection(self, case: Case) -> str | None:
        rule, victim = case.rule, case.candidate.victim
        if not (case.settings.require_approval if rule.require_approval is None else rule.require_approval):
            return None
        if victim is None:
            return "it has no identity that somebody could agree to"
        name = decision_id(victim, case.signal)
        ttl = case.settings.approval_ttl if rule.approval_ttl is None else rule.approval_ttl
        if approved(case.history, name, case.now, ttl) is None:
            return f"it waits for a person's word: pgdoctor mitigate approve {name}"
        return None

    def value(self, case: Case) -> str:
        victim = case.candidate.victim
        given = [
            each for each in case.history.approvals if victim and each.decision == decision_id(victim, case.signal)
        ]
        return f"approved by {given[-1].by}" if given else "no approval"


class UnderWay(Guard):
    """One action at a time: the effect of the one before has to be known first."""

    name = "under_way"
    heals = Heals.PACE

    def objection(self, case: Case) -> str | None:
        action = case.history.under_way
        return f"the {action.signal} of {action.victim.pid} is not settled yet" if action else None

    def value(self, case: Case) -> str:
        return "one" if case.history.under_way else "none"


class Cooldown(Guard):
    """After an action those who were released have time to run before the next one."""

    name = "cooldown"
    heals = Heals.PACE

    def objection(self, case: Case) -> str | None:
        elapsed = self._elapsed(case)
        if elapsed is not None and elapsed < case.settings.cooldown:
            return f"the last action was {duration(max(elapsed, 0))} ago, the cool-down is {case.settings.cooldown}"
        return None

    def value(self, case: Case) -> str:
        elapsed = self._elapsed(case)
        since = "no action so far" if elapsed is None else f"{duration(max(elapsed, 0))} since the last one"
        return f"{since}, at least {case.settings.cooldown}"

    @staticmethod
    def _elapsed(case: Case) -> float | None:
        last = next(case.history.spent, None)
        return None if last is None else (case.now - last.at) / timedelta(seconds=1)


class Persistence(Guard):
    """It was fit to be signalled in so many looks in a row: this transaction for a terminate, this statement for a
    cancel."""

    name = "persistence"
    heals = Heals.PACE

    def objection(self, case: Case) -> str | None:
        seen = self._seen(case)
        if seen < case.settings.min_samples:
            return f"it was found fit in {seen} of {case.settings.min_samples} looks in a row"
        return None

    def value(self, case: Case) -> str:
        return f"{self._seen(case)} of {case.settings.min_samples} looks"

    @staticmethod
    def _seen(case: Case) -> int:
        victim = case.candidate.victim
        return case.history.looks(victim, case.signal) + 1 if victim else 0
