"""What each possible cut would free, what it would cost, and which one to make.

A waiter moves at once when everybody it waits for is in the cut. It moves in turn when, besides, it only waits for
sessions that themselves move: the readers behind a queued ALTER move at once when the ALTER is cancelled, and in
turn, after the ALTER has run, when the idle transaction in front of it is ended. Where several hold a lock together
(three readers in front of a TRUNCATE) no single cut frees anybody, but all of them do.
"""

from collections.abc import Iterable
from enum import IntEnum

import msgspec

from pgdoctor.diagnosis import ddl
from pgdoctor.diagnosis.cause import Action
from pgdoctor.diagnosis.diagnosis import Blocker, Diagnosis
from pgdoctor.diagnosis.graph import Node, WaitGraph
from pgdoctor.diagnosis.locks import STRONG
from pgdoctor.diagnosis.words import count, duration

#: Blockers whose cut is worked out, the widest reach first.
MOST_CUTS = 20

#: Sets that are worked out, those that hold up the most first; and the members that one has at most.
MOST_SETS = 5
MOST_MEMBERS = 3
_MOST_TRIED = 20

#: PIDs of released sessions that are listed; all of them are counted.
MOST_RELEASED = 50


class Harm(IntEnum):
    """How much a signal destroys, the least first."""

    #: A request that waits, and can be made again.
    RETRY = 1
    #: An idle transaction without changes.
    IDLE = 2
    #: A request that waits, and what its transaction did before it: a migration is run again as a whole.
    REPEAT = 3
    #: The work of a running statement.
    TIME = 4
    #: The changes of an idle transaction.
    CHANGES = 5
    #: Both.
    WORK = 6


class Signal(msgspec.Struct, frozen=True):
    """A session, and how to end what it does."""

    action: Action
    pid: int


class Cut(msgspec.Struct, frozen=True):
    """One signal and its benefit, in numbers of blocked sessions."""

    action: Action
    pid: int
    frees_at_once: int
    #: Those at once, and those who follow when the released ones finish.
    frees_in_turn: int
    #: True for table locks, whose holders are all known; False, a forecast, for rows, where a further holder of
    #: the same row may stay hidden behind the first (measured).
    exact: bool
    loses: str
    reason: str
    harm: Harm = Harm.WORK
    #: The sessions released at once, the first MOST_RELEASED by PID.
    released: tuple[int, ...] = ()


class CutSet(msgspec.Struct, frozen=True):
    """Signals that free somebody only together: none of them, and no part of them, does as much alone."""

    signals: tuple[Signal, ...]
    frees_at_once: int
    frees_in_turn: int
    exact: bool
    loses: str
    harm: Harm
    released: tuple[int, ...]


class Spared(msgspec.Struct, frozen=True):
    """A root blocker that should not be signalled, what its end would free all the same, and what to do instead."""

    pid: int | None
    prepared_gid: str | None
    frees_at_once: int
    frees_in_turn: int
    exact: bool
    #: What a signal would cost; None where there is none to send.
    loses: str | None
    reason: str
    released: tuple[int, ...]


class Advice(msgspec.Struct, frozen=True):
    """The one thing to do. `action` and `pid` are those of the first signal; none: signal nobody, for the reason."""

    action: Action
    pid: int | None
    prepared_gid: str | None
    signals: tuple[Signal, ...]
    frees_at_once: int
    frees_in_turn: int
    exact: bool
    loses: str | None
    reason: str


class Options(msgspec.Struct, frozen=True):
    """All that can be done about a diagnosis, the best first; `advice` None: nobody is blocked."""

    cuts: tuple[Cut, ...]
    sets: tuple[CutSet, ...]
    spared: tuple[Spared, ...]
    advice: Advice | None


def options(diagnosis: Diagnosis) -> Options:
    """Every cut, set of cuts and blocker to leave alone that is worth a thought, and what to do."""
    blockers, graph = diagnosis.blockers, diagnosis.graph
    single, together, left = cuts(blockers, graph), sets(blockers, graph), spared(blockers, graph)
    return Options(single, together, left, _advice(diagnosis, single, together, left))


def cuts(blockers: Iterable[Blocker], graph: WaitGraph) -> tuple[Cut, ...]:
    """The cuts that free somebody, the best first: most sessions at once, then the least harm."""
    worth = [blocker for blocker in blockers if _may_be_cut(blocker, graph)]
    worth.sort(key=lambda blocker: -blocker.blocked_sessions)
    found = [cut for blocker in worth[:MOST_CUTS] if (cut := _cut(blocker, graph)) is not None]
    return tuple(sorted(found, key=lambda cut: (-cut.frees_at_once, cut.harm, -cut.frees_in_turn, cut.pid)))


def sets(blockers: Iterable[Blocker], graph: WaitGraph) -> tuple[CutSet, ...]:
    """The smallest sets that free somebody where no member does alone, the best first."""
    by_node = {blocker.node: blocker for blocker in blockers if _may_be_cut(blocker, graph)}
    groups = [
        (-waiters, len(group), sorted(group))
        for group, waiters in graph.shared(MOST_MEMBERS).items()
        if group <= by_node.keys() and not any(graph.released_at_once(frozenset({node})) for node in group)
    ]
    tried = (frozenset(group) for _, _, group in sorted(groups)[:_MOST_TRIED])
    needed = [group for group in tried if _needs_all(group, graph)]
    found = [_set([by_node[node] for node in sorted(group)], graph) for group in needed[:MOST_SETS]]
    return tuple(
        sorted(found, key=lambda each: (-each.frees_at_once, each.harm, len(each.signals), -each.frees_in_turn))
    )


def _needs_all(group: frozenset[Node], graph: WaitGraph) -> bool:
    """Without any one of its members it frees fewer. One that waits for the others itself may be too many."""
    freed = len(graph.released_at_once(group))
    return all(len(graph.released_at_once(group - {node})) < freed for node in group)


def spared(blockers: Iterable[Blocker], graph: WaitGraph) -> tuple[Spared, ...]:
    """The root blockers that nobody should signal though their end would free somebody, the widest reach first."""
    roots = [blocker for blocker in blockers if blocker.root and blocker.recommendation.action == "none"]
    roots.sort(key=lambda blocker: -blocker.blocked_sessions)
    return tuple(_spared(blocker, graph) for blocker in roots[:MOST_CUTS] if graph.released_at_once(_only(blocker)))


def _may_be_cut(blocker: Blocker, graph: WaitGraph) -> bool:
    return blocker.recommendation.action != "none" and blocker.pid is not None and blocker.node not in graph.in_cycle


def _only(*blockers: Blocker) -> frozenset[Node]:
    return frozenset(blocker.node for blocker in blockers)


def _cut(blocker: Blocker, graph: WaitGraph) -> Cut | None:
    node = _only(blocker)
    at_once = graph.released_at_once(node)
    if blocker.pid is None or not at_once:
        return None
    harm = _harm(blocker)
    return Cut(
        action=blocker.recommendation.action,
        pid=blocker.pid,
        frees_at_once=len(at_once),
        frees_in_turn=len(graph.released_in_turn(node)),
        exact=blocker.by_table_locks,
        loses=_loses(blocker, harm),
        reason=blocker.recommendation.reason,
        harm=harm,
        released=_listed(at_once),
    )


def _set(members: list[Blocker], graph: WaitGraph) -> CutSet:
    nodes = _only(*members)
    at_once = graph.released_at_once(nodes)
    worst = max(members, key=lambda each: (_harm(each), each.transaction_seconds or 0.0))
    return CutSet(
        signals=tuple(Signal(each.recommendation.action, each.node) for each in members),
        frees_at_once=len(at_once),
        frees_in_turn=len(graph.released_in_turn(nodes)),
        exact=all(each.by_table_locks for each in members),
        loses=f"each at most {_loses(worst, _harm(worst))}" if _harm(worst) > Harm.RETRY else "a retry each",
        harm=_harm(worst),
        released=_listed(at_once),
    )


def _spared(blocker: Blocker, graph: WaitGraph) -> Spared:
    at_once = graph.released_at_once(_only(blocker))
    return Spared(
        pid=blocker.pid,
        prepared_gid=blocker.gid,
        frees_at_once=len(at_once),
        frees_in_turn=len(graph.released_in_turn(_only(blocker))),
        exact=blocker.by_table_locks,
        loses=_loses(blocker, _harm(blocker)) if blocker.pid is not None else None,
        reason=blocker.recommendation.reason,
        released=_listed(at_once),
    )


def _listed(nodes: Iterable[Node]) -> tuple[Node, ...]:
    return tuple(sorted(nodes)[:MOST_RELEASED])


def _harm(blocker: Blocker) -> Harm:
    changed = blocker.session is not None and blocker.session.has_changes
    if not blocker.root:
        return Harm.REPEAT if changed else Harm.RETRY
    if blocker.session is not None and not blocker.session.in_transaction_idle:
        return Harm.WORK if changed else Harm.TIME
    return Harm.CHANGES if changed else Harm.IDLE


def _loses(blocker: Blocker, harm: Harm) -> str:
    """What the signal destroys, in words."""
    session, age = blocker.session, duration(blocker.transaction_seconds)
    if session is not None and session.wait_event == "SyncRep":
        return "nothing that could roll back: its commit would only be reported wrongly"
    if session is not None and session.state == "active":
        left = ddl.effect(session.statement or "", truncated=session.truncated).leaves
        if left:
            return f"its work, and {left} is left behind"
    if session is not None and session.state == "idle in transaction (aborted)":
        return "the session; its transaction is aborted already"
    match harm:
        case Harm.RETRY:
            return "nothing but a retry"
        case Harm.IDLE:
            return f"a transaction open for {age} that changed nothing"
        case Harm.REPEAT:
            return f"a retry of its transaction, open for {age}, whose changes so far roll back"
        case Harm.TIME:
            return f"the work of a running statement, its transaction open for {age}; it changed nothing"
        case Harm.CHANGES:
            return f"the changes of a transaction open for {age}: they roll back"
        case Harm.WORK:
            return f"the work of a running statement and the changes of its transaction, open for {age}: they roll back"


def _advice(
    diagnosis: Diagnosis, single: tuple[Cut, ...], together: tuple[CutSet, ...], left: tuple[Spared, ...]
) -> Advice | None:
    """The best cut, or why there is none.

    Best is what relieves most sessions. But what costs nothing but a retry goes first if it relieves half as many:
    the ALTER is taken back before the report in front of it is ended, and then there is time to look again.
    """
    if not diagnosis.graph.waiters:
        return None
    choices: list[tuple[int, Cut | CutSet]] = [
        (cut.frees_in_turn + _waiting(diagnosis.graph, [cut.pid]), cut) for cut in single
    ]
    choices += [
        (each.frees_in_turn + _waiting(diagnosis.graph, [signal.pid for signal in each.signals]), each)
        for each in together
    ]
    choices.sort(key=lambda choice: (-choice[0], choice[1].harm, len(_signals(choice[1])), _signals(choice[1])[0].pid))
    if not choices:
        return _nobody(diagnosis, left)
    most = choices[0][0]
    relief, best = next(
        (choice for choice in choices if choice[1].harm is Harm.RETRY and 2 * choice[0] >= most), choices[0]
    )
    if _is_for_a_request(diagnosis, best):
        [waiter] = best.released
        reason = f"only {waiter} waits, with a request that can be tried again: let the statement in front finish"
        return _none(reason, best.pid if isinstance(best, Cut) else None)
    reason = best.reason if isinstance(best, Cut) else "they hold the lock together: only the end of all frees anybody"
    wider = next((each for each in left if each.frees_in_turn > relief), None)
    if wider is not None:
        reason += f"; {count(wider.frees_in_turn, 'session')} behind {_name(wider)} need something else: {wider.reason}"
    first, *_ = signals = _signals(best)
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
    )


def _signals(choice: Cut | CutSet) -> tuple[Signal, ...]:
    return choice.signals if isinstance(choice, CutSet) else (Signal(choice.action, choice.pid),)


def _waiting(graph: WaitGraph, pids: Iterable[int]) -> int:
    """How many of those that are cut wait themselves, and so wait no more."""
    return sum(pid in graph.blockers_of for pid in pids)


def _is_for_a_request(diagnosis: Diagnosis, choice: Cut | CutSet) -> bool:
    """It would break off a running statement for the sake of one queued request that nobody is behind."""
    if choice.harm not in (Harm.TIME, Harm.WORK) or (choice.frees_at_once, choice.frees_in_turn) != (1, 1):
        return False
    requests = diagnosis.snapshot.sessions[choice.released[0]].requests
    return bool(requests) and all(lock.locktype == "relation" and lock.mode in STRONG for lock in requests)


def _nobody(diagnosis: Diagnosis, left: tuple[Spared, ...]) -> Advice:
    """Nobody is to be signalled: the widest of those who are left alone says why."""
    if left:
        first = left[0]
        return msgspec.structs.replace(
            _none(first.reason, first.pid),
            prepared_gid=first.prepared_gid,
            frees_at_once=first.frees_at_once,
            frees_in_turn=first.frees_in_turn,
            exact=first.exact,
        )
    silent = (
        each for each in diagnosis.blockers if (each.root or each.in_cycle) and each.recommendation.action == "none"
    )
    for each in silent:
        return _none(each.recommendation.reason, each.pid)
    return _none("too many hold the lock together: take back the request that waits for it", None)


def _none(reason: str, pid: int | None) -> Advice:
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


def _name(each: Spared) -> str:
    return str(each.pid) if each.pid is not None else f"prepared transaction '{each.prepared_gid}'"
