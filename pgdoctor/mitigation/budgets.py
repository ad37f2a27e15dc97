"""How many actions are left: in each window, in total, of terminates, and of one kind coming back."""

from collections.abc import Iterator
from datetime import datetime, timedelta

import msgspec

from pgdoctor.mitigation.history import History
from pgdoctor.mitigation.rules import Mitigation

_FIVE_MINUTES = timedelta(minutes=5)
_HOUR = timedelta(hours=1)

#: The names of all budgets: the closed set of the metrics' `budget` label.
BUDGETS = ("actions_per_interval", "actions_per_5m", "actions_per_hour", "terminates_per_hour", "per_fingerprint")


class Budget(msgspec.Struct, frozen=True):
    """One limit, and how much of it is spent."""

    name: str
    limit: int
    spent: int
    only_terminates: bool = False

    @property
    def left(self) -> int:
        """What may still be done; never below zero."""
        return max(self.limit - self.spent, 0)


def compute_budgets(history: History, settings: Mitigation, now: datetime, fingerprint: str = "") -> tuple[Budget, ...]:
    """Every budget at `now`, the server's clock; that of a kind of incident where its fingerprint is given."""
    return tuple(_list_budgets(history, settings, now, fingerprint))


def budgets_left(
    history: History, settings: Mitigation, now: datetime, fingerprint: str | None = None
) -> dict[str, int]:
    """What is left of each budget by its name; without a fingerprint that of the kind that has least left."""
    kinds = {action.fingerprint for action in history.spent} if fingerprint is None else {fingerprint}
    left = {"per_fingerprint": settings.max_per_fingerprint_per_hour}
    for kind in sorted(kinds) or [""]:
        for each in compute_budgets(history, settings, now, kind):
            left[each.name] = min(each.left, left.get(each.name, each.left))
    return {name: left[name] for name in BUDGETS}


def _list_budgets(history: History, settings: Mitigation, now: datetime, fingerprint: str) -> Iterator[Budget]:
    hour = [action for action in history.spent if now - action.at < _HOUR]
    # A plan is of one poll, and nothing was done since.
    yield Budget("actions_per_interval", settings.max_actions_per_interval, 0)
    recent = sum(now - action.at < _FIVE_MINUTES for action in hour)
    yield Budget("actions_per_5m", settings.max_actions_per_5m, recent)
    yield Budget("actions_per_hour", settings.max_actions_per_hour, len(hour))
    ended = sum(action.signal == "terminate" for action in hour)
    yield Budget("terminates_per_hour", settings.max_terminates_per_hour, ended, only_terminates=True)
    if fingerprint:
        again = sum(action.fingerprint == fingerprint for action in hour)
        yield Budget("per_fingerprint", settings.max_per_fingerprint_per_hour, again)
