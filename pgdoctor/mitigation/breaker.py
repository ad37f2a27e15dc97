"""The breaker: it stops mitigation until an operator resets it. A function of history and settings.

What one application does again and again stops signals for that alone; three such stop all of it.

It is open or closed, and never half-open: a probe would itself be a signal to a session.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

from pgdoctor.mitigation.history import Action, History, Opening
from pgdoctor.mitigation.rules import Breaker
from pgdoctor.model.identity import Identity

#: A blocker that returns: its fingerprint, and its transaction.
Comer = tuple[str, Identity]

_REFUSED = ("not_permitted", "error")
_IN_VAIN = ("ineffective", "stuck")

#: Different ones that came back too often, from which on it is not about any of them.
_MANY_STOPPED = 3


def find_opening(history: History, settings: Breaker, now: datetime, comers: Iterable[Comer] = ()) -> Opening | None:
    """Why the breaker is open at `now`, the server's clock; None: it is closed.

    `comers`: the blockers that a rule would act upon now. Three different ones that came back too often open it.
    """
    reset = history.reset
    if history.opening is not None and (reset is None or reset.at < history.opening.at):
        return history.opening
    actions = [action for action in history.actions if reset is None or action.at > reset.at]
    stopped = tuple(dict.fromkeys(each.fingerprint for each in find_stops(history, settings, now, comers)))
    reason = next(_list_reasons(actions, settings, stopped), None)
    return Opening(now, reason) if reason else None


def find_stops(history: History, settings: Breaker, now: datetime, comers: Iterable[Comer] = ()) -> tuple[Opening, ...]:
    """Fingerprints that came back too often, as of before and of `now`: they are not signalled until a reset."""
    reset = history.reset
    found = {each.fingerprint: each for each in history.stops if reset is None or reset.at < each.at}
    actions = [action for action in history.actions if reset is None or action.at > reset.at]
    for fingerprint, victim in comers:
        times = 1 + _count_transactions(
            fingerprint, victim, actions, now - timedelta(seconds=settings.recurrence_window)
        )
        if times >= settings.recurrence and fingerprint not in found:
            reason = f"occurrence {times} within {settings.recurrence_window}: {fingerprint}"
            found[fingerprint] = Opening(now, reason, fingerprint=fingerprint)
    return tuple(found.values())


def _list_reasons(actions: list[Action], settings: Breaker, stopped: tuple[str, ...]) -> Iterator[str]:
    in_vain = _in_vain(actions)
    if in_vain >= settings.open_after_ineffective:
        yield f"{in_vain} blockers in a row were signalled without effect"
    refused = _longest_run(action.outcome in _REFUSED for action in actions if action.outcome and action.counts)
    if refused >= settings.open_after_errors:
        yield f"{refused} signals in a row were refused, or not answered"
    if settings.open_on_worsening:
        yield from (
            f"after the {each.signal} of {each.victim.pid} {each.worsening}" for each in actions if each.worsening
        )
    if len(stopped) >= _MANY_STOPPED:
        yield f"{len(stopped)} different blockers returned too often: {'; '.join(stopped)}"


def _in_vain(actions: list[Action]) -> int:
    """The longest run of blockers that were signalled in vain: a cancel and the terminate after it are of one."""
    longest, run = 0, list[Identity]()
    for action in actions:
        if action.outcome in _IN_VAIN:
            if not any(action.victim.same_transaction(each) for each in run):
                run.append(action.victim)
        elif action.outcome == "released":
            run = []
        longest = max(longest, len(run))
    return longest


def _longest_run(found: Iterable[bool]) -> int:
    longest = run = 0
    for each in found:
        run = run + 1 if each else 0
        longest = max(longest, run)
    return longest


def _count_transactions(fingerprint: str, victim: Identity, actions: list[Action], since: datetime) -> int:
    """How many other transactions of this kind were acted upon."""
    others: list[Identity] = []
    for action in actions:
        if action.fingerprint != fingerprint or action.at <= since or not action.counts:
            continue
        if not any(action.victim.same_transaction(each) for each in (victim, *others)):
            others.append(action.victim)
    return len(others)
