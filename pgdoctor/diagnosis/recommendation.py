"""All that can be done about a diagnosis, and the one thing to do."""

from collections.abc import Iterable

import msgspec

from pgdoctor.diagnosis.cuts import Cut, CutSet, Damage, LeaveAlone, Signal, find_cut_sets, find_cuts, find_left_alone
from pgdoctor.formatting import format_count
from pgdoctor.model.diagnosis import Diagnosis
from pgdoctor.model.lock_modes import STRONG
from pgdoctor.model.remedy import Action
from pgdoctor.model.wait_graph import WaitGraph


class Advice(msgspec.Struct, frozen=True):
    """The one thing to do. `action` and `pid` are those of the first signal; none: signal no session, for the
    reason."""

    action: Action
    pid: int | None
    prepared_gid: str | None
    signals: tuple[Signal, ...]
    frees_at_once: int
    frees_in_turn: int
    exact: bool
    loses: str | None
    reason: str
    #: Why the server refuses our role one of the signals, and what to do instead; None where it would not.
    not_permitted: str | None = None
    #: Who may hold the row too where the end of one may free no session; see `Cut`.
    may_hold_too: tuple[int, ...] = ()
    #: To be run by hand, one for each signal; see `Cut`.
    sql: tuple[str, ...] = ()


class Recommendations(msgspec.Struct, frozen=True):
    """All that can be done about a diagnosis, the best first; `advice` None: no session is blocked."""

    cuts: tuple[Cut, ...]
    sets: tuple[CutSet, ...]
    spared: tuple[LeaveAlone, ...]
    advice: Advice | None


def recommend(diagnosis: Diagnosis) -> Recommendations:
    """Every cut, set of cuts and blocker to leave alone that is worth a thought, and what to do."""
    blockers, graph = diagnosis.blockers, diagnosis.graph
    single, together, left = (
        find_cuts(blockers, graph),
        find_cut_sets(blockers, graph),
        find_left_alone(blockers, graph),
    )
    return Recommendations(single, together, left, _choose_advice(diagnosis, single, together, left))


def _choose_advice(
    diagnosis: Diagnosis, single: tuple[Cut, ...], together: tuple[CutSet, ...], left: tuple[LeaveAlone, ...]
) -> Advice | None:
    """The best cut, or why there is none.

    Best is what relieves most sessions. But a signal that costs only a retry goes first if it relieves half as many:
    the ALTER is taken back before the report in front of it is ended, and then there is time to look again.
    """
    if not diagnosis.graph.waiters:
        return None
    choices: list[tuple[int, Cut | CutSet]] = [
        (cut.frees_in_turn + _count_waiting(diagnosis.graph, [cut.pid]), cut)
        for cut in single
        if cut.release_uncertain is None
    ]
    choices += [
        (each.frees_in_turn + _count_waiting(diagnosis.graph, [signal.pid for signal in each.signals]), each)
        for each in together
    ]
    choices.sort(
        key=lambda choice: (-choice[0], choice[1].harm, len(_list_signals(choice[1])), _list_signals(choice[1])[0].pid)
    )
    if not choices:
        if single:
            return _advise_uncertain(single[0])
        return _advise_nobody(diagnosis, left)
    most = choices[0][0]
    relief, best = next(
        (choice for choice in choices if choice[1].harm is Damage.RETRY and 2 * choice[0] >= most), choices[0]
    )
    if _is_for_a_request(diagnosis, best):
        [waiter] = best.released
        reason = f"only {waiter} waits, and can retry its request: let the statement in front finish"
        return _advise_none(reason, best.pid if isinstance(best, Cut) else None)
    reason = best.reason if isinstance(best, Cut) else "they hold the lock together: only the end of all frees sessions"
    wider = next((each for each in left if each.frees_in_turn > relief), None)
    if wider is not None:
        reason += (
            f"; {format_count(wider.frees_in_turn, 'session')} behind "
            f"{_name_spared(wider)} need another action: {wider.reason}"
        )
    first, *_ = signals = _list_signals(best)
    refused = {blocker.pid: blocker.not_permitted for blocker in diagnosis.blockers if blocker.not_permitted}
    return Advice(
        action=first.action,
        pid=first.pid,
        prepared_gid=None,
        signals=signals,
        frees_at_once=best.frees_at_once,
        frees_in_turn=best.frees_in_turn,
        exact=best.exact,
        loses=best.loses,
        reason=reason,
        not_permitted=next((f"{each.pid}: {refused[each.pid]}" for each in signals if each.pid in refused), None),
        sql=best.sql if isinstance(best, CutSet) else tuple(filter(None, (best.sql,))),
    )


def _list_signals(choice: Cut | CutSet) -> tuple[Signal, ...]:
    return choice.signals if isinstance(choice, CutSet) else (Signal(choice.action, choice.pid),)


def _count_waiting(graph: WaitGraph, pids: Iterable[int]) -> int:
    """How many of those that are cut wait themselves, and so wait no more."""
    return sum(pid in graph.blockers_of for pid in pids)


def _is_for_a_request(diagnosis: Diagnosis, choice: Cut | CutSet) -> bool:
    """It would break off a running statement for one queued request with no session behind it."""
    if choice.harm not in (Damage.TIME, Damage.WORK) or (choice.frees_at_once, choice.frees_in_turn) != (1, 1):
        return False
    requests = diagnosis.snapshot.sessions[choice.released[0]].requests
    return bool(requests) and all(lock.locktype == "relation" and lock.mode in STRONG for lock in requests)


def _advise_uncertain(cut: Cut) -> Advice:
    """No session is to be signalled by itself: others may hold the row too."""
    return msgspec.structs.replace(
        _advise_none(f"{cut.release_uncertain}; check all of them before you end any", cut.pid),
        frees_at_once=cut.frees_at_once,
        frees_in_turn=cut.frees_in_turn,
        may_hold_too=cut.may_hold_too,
    )


def _advise_nobody(diagnosis: Diagnosis, left: tuple[LeaveAlone, ...]) -> Advice:
    """No session is to be signalled; the reason is that of the root with the widest reach."""
    if left:
        first = left[0]
        return msgspec.structs.replace(
            _advise_none(first.reason, first.pid),
            prepared_gid=first.prepared_gid,
            frees_at_once=first.frees_at_once,
            frees_in_turn=first.frees_in_turn,
            exact=first.exact,
        )
    silent = (
        each for each in diagnosis.blockers if (each.root or each.in_cycle) and each.recommendation.action == "none"
    )
    for each in silent:
        return _advise_none(each.recommendation.reason, each.pid)
    return _advise_none("too many sessions hold the lock together: cancel the request that waits for it", None)


def _advise_none(reason: str, pid: int | None) -> Advice:
    return Advice(
        action="none",
        pid=pid,
        prepared_gid=None,
        signals=(),
        frees_at_once=0,
        frees_in_turn=0,
        exact=False,
        loses=None,
        reason=reason,
    )


def _name_spared(each: LeaveAlone) -> str:
    return str(each.pid) if each.pid is not None else f"prepared transaction '{each.prepared_gid}'"
