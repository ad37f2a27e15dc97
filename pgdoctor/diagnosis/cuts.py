"""What each possible cut would free, and what it would cost.

A waiter moves at once when all sessions that it waits for are in the cut. It moves in turn when, besides, it only waits
for
sessions that themselves move: the readers behind a queued ALTER move at once when the ALTER is cancelled, and in
turn, after the ALTER has run, when the idle transaction in front of it is ended. Where several hold a lock together
(three readers in front of a TRUNCATE) no single cut frees a session, but all of them do.
"""

from collections.abc import Iterable
from enum import IntEnum

import msgspec

from pgdoctor.diagnosis.manual_signal import write_rollback_sql, write_signal_sql
from pgdoctor.formatting import format_duration
from pgdoctor.model.diagnosis import Blocker
from pgdoctor.model.remedy import Action
from pgdoctor.model.snapshot import Session
from pgdoctor.model.wait_graph import Node, WaitGraph
from pgdoctor.sqltext import ddl

#: Blockers whose cut is worked out, the widest reach first.
MOST_CUTS = 20

#: Sets that are worked out, those that hold up the most first; and the members that one has at most.
MOST_SETS = 5
MOST_MEMBERS = 3
_MOST_TRIED = 20

#: PIDs of released sessions that are listed; all of them are counted.
MOST_RELEASED = 50


class Damage(IntEnum):
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
    #: the same row may stay hidden behind the first, and for a cancel that may only lead back to a savepoint
    #: (both measured).
    exact: bool
    loses: str
    reason: str
    harm: Damage = Damage.WORK
    #: The sessions released at once, the first MOST_RELEASED by PID.
    released: tuple[int, ...] = ()
    #: Why the server refuses our role the signal, and what to do instead; None where it would not.
    not_permitted: str | None = None
    #: Why it may free no session: others may hold the row too, of whom the server shows one at a time. None: it frees.
    release_uncertain: str | None = None
    #: Those others. All of them together with this one hold the row at most.
    may_hold_too: tuple[int, ...] = ()
    #: To be run by hand: it signals this session and no later one. None: it may free no session, or is not identified.
    sql: str | None = None


class CutSet(msgspec.Struct, frozen=True):
    """Signals that free a session only together: none of them, and no part of them, does as much alone."""

    signals: tuple[Signal, ...]
    frees_at_once: int
    frees_in_turn: int
    exact: bool
    loses: str
    harm: Damage
    released: tuple[int, ...]
    #: To be run by hand, one for each signal; empty where one of them cannot be written.
    sql: tuple[str, ...] = ()


class LeaveAlone(msgspec.Struct, frozen=True):
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
    #: Why its end may free no session: others may hold the row too. None: it frees.
    release_uncertain: str | None = None
    #: Of a prepared transaction: what rolls it back, if its transaction manager says so.
    sql: str | None = None


def find_cuts(blockers: Iterable[Blocker], graph: WaitGraph) -> tuple[Cut, ...]:
    """The cuts that free a session, the best first: certain ones, most sessions at once, then the least harm."""
    worth = [blocker for blocker in blockers if _may_be_cut(blocker, graph)]
    worth.sort(key=lambda blocker: -blocker.blocked_sessions)
    found = [cut for blocker in worth[:MOST_CUTS] if (cut := _make_cut(blocker, graph)) is not None]
    return tuple(
        sorted(
            found,
            key=lambda cut: (
                *(cut.release_uncertain is not None, -cut.frees_at_once),
                *(cut.harm, -cut.frees_in_turn, cut.pid),
            ),
        )
    )


def find_cut_sets(blockers: Iterable[Blocker], graph: WaitGraph) -> tuple[CutSet, ...]:
    """The smallest sets that free a session where no member does alone, the best first."""
    by_node = {blocker.node: blocker for blocker in blockers if _may_be_cut(blocker, graph)}
    groups = [
        (-waiters, len(group), sorted(group))
        for group, waiters in graph.count_shared(MOST_MEMBERS).items()
        if group <= by_node.keys() and not any(graph.released_at_once(frozenset({node})) for node in group)
    ]
    tried = (frozenset(group) for _, _, group in sorted(groups)[:_MOST_TRIED])
    needed = [group for group in tried if _needs_all(group, graph)]
    found = [_make_set([by_node[node] for node in sorted(group)], graph) for group in needed[:MOST_SETS]]
    return tuple(
        sorted(found, key=lambda each: (-each.frees_at_once, each.harm, len(each.signals), -each.frees_in_turn))
    )


def _needs_all(group: frozenset[Node], graph: WaitGraph) -> bool:
    """Without any one of its members it frees fewer. One that waits for the others itself may be too many."""
    freed = len(graph.released_at_once(group))
    return all(len(graph.released_at_once(group - {node})) < freed for node in group)


def find_left_alone(blockers: Iterable[Blocker], graph: WaitGraph) -> tuple[LeaveAlone, ...]:
    """The root blockers to leave alone although their end would free a session, the widest reach first."""
    roots = [blocker for blocker in blockers if blocker.root and blocker.recommendation.action == "none"]
    roots.sort(key=lambda blocker: -blocker.blocked_sessions)
    return tuple(
        _make_spared(blocker, graph) for blocker in roots[:MOST_CUTS] if graph.released_at_once(_find_only(blocker))
    )


def _may_be_cut(blocker: Blocker, graph: WaitGraph) -> bool:
    return blocker.recommendation.action != "none" and blocker.pid is not None and blocker.node not in graph.in_cycle


def _find_only(*blockers: Blocker) -> frozenset[Node]:
    return frozenset(blocker.node for blocker in blockers)


def _make_cut(blocker: Blocker, graph: WaitGraph) -> Cut | None:
    node = _find_only(blocker)
    at_once = graph.released_at_once(node)
    if blocker.pid is None or not at_once:
        return None
    harm = _assess_damage(blocker)
    at_once = _find_promised(blocker, at_once)
    return Cut(
        action=blocker.recommendation.action,
        pid=blocker.pid,
        frees_at_once=len(at_once),
        frees_in_turn=len(graph.released_in_turn(node)),
        exact=blocker.is_exact,
        loses=_describe_loss(blocker, harm),
        reason=blocker.recommendation.reason,
        harm=harm,
        released=_sort_nodes(at_once),
        not_permitted=blocker.not_permitted,
        release_uncertain=blocker.release_uncertain if blocker.may_free_nobody else None,
        may_hold_too=blocker.may_hold_too,
        sql=_format_signal_sql(blocker),
    )


def _make_set(members: list[Blocker], graph: WaitGraph) -> CutSet:
    nodes = _find_only(*members)
    at_once = graph.released_at_once(nodes)
    worst = max(members, key=lambda each: (_assess_damage(each), each.transaction_seconds or 0.0))
    texts = [text for text in map(_format_signal_sql, members) if text is not None]
    return CutSet(
        signals=tuple(Signal(each.recommendation.action, each.node) for each in members),
        frees_at_once=len(at_once),
        frees_in_turn=len(graph.released_in_turn(nodes)),
        exact=all(each.is_exact for each in members),
        loses=f"each at most {_describe_loss(worst, _assess_damage(worst))}"
        if _assess_damage(worst) > Damage.RETRY
        else "a retry each",
        harm=_assess_damage(worst),
        released=_sort_nodes(at_once),
        sql=tuple(texts) if len(texts) == len(members) else (),
    )


def _make_spared(blocker: Blocker, graph: WaitGraph) -> LeaveAlone:
    at_once = _find_promised(blocker, graph.released_at_once(_find_only(blocker)))
    return LeaveAlone(
        pid=blocker.pid,
        prepared_gid=blocker.gid,
        frees_at_once=len(at_once),
        frees_in_turn=len(graph.released_in_turn(_find_only(blocker))),
        exact=blocker.is_exact,
        loses=_describe_loss(blocker, _assess_damage(blocker)) if blocker.pid is not None else None,
        reason=blocker.recommendation.reason,
        released=_sort_nodes(at_once),
        release_uncertain=blocker.release_uncertain if blocker.may_free_nobody else None,
        sql=None if blocker.gid is None or blocker.may_free_nobody else write_rollback_sql(blocker.gid),
    )


def _format_signal_sql(blocker: Blocker) -> str | None:
    """To be copied and run: not where it may free no session."""
    if blocker.session is None or blocker.may_free_nobody:
        return None
    return write_signal_sql(blocker.recommendation.action, blocker.session)


def _find_promised(blocker: Blocker, at_once: frozenset[Node]) -> frozenset[Node]:
    """Of those whom its end releases, the ones that are promised: if some are certain, only those."""
    return (at_once - blocker.uncertain_waiters) or at_once


def _sort_nodes(nodes: Iterable[Node]) -> tuple[Node, ...]:
    return tuple(sorted(nodes)[:MOST_RELEASED])


def describe_loss(session: Session, seconds: float | None, *, root: bool) -> str:
    """What a signal to a session destroys, in words. `seconds`: its transaction's age; `root`: it waits for none."""
    if session.xact_start is None:
        return "its connection; it has no open transaction"
    return _describe_lost_work(session, seconds, _weigh_damage(session, root=root))


def _assess_damage(blocker: Blocker) -> Damage:
    return _weigh_damage(blocker.session, root=blocker.root)


def _weigh_damage(session: Session | None, *, root: bool) -> Damage:
    changed = session is not None and session.has_changes
    if not root:
        return Damage.REPEAT if changed and session is not None and not session.queued_at_once else Damage.RETRY
    if session is not None and not session.in_transaction_idle:
        return Damage.WORK if changed else Damage.TIME
    return Damage.CHANGES if changed else Damage.IDLE


def _describe_loss(blocker: Blocker, harm: Damage) -> str:
    """What the signal destroys, in words."""
    return _describe_lost_work(blocker.session, blocker.transaction_seconds, harm)


def _describe_lost_work(session: Session | None, seconds: float | None, harm: Damage) -> str:
    age = format_duration(seconds)
    if session is not None and session.wait_event == "SyncRep":
        return "nothing that could roll back; but its commit would be reported wrongly"
    if session is not None and session.state == "active":
        left = ddl.ddl_effect(session.statement or "", truncated=session.truncated).leaves
        if left:
            return f"its work, and leaves {left} behind"
    if session is not None and session.state == "idle in transaction (aborted)":
        return "the session; its transaction is already aborted"
    match harm:
        case Damage.RETRY:
            return "nothing but a retry"
        case Damage.IDLE:
            return f"a transaction open for {age} that {_describe_unchanged(session)}"
        case Damage.REPEAT:
            return f"a retry of its transaction, open for {age}, which may have changed rows: they roll back"
        case Damage.TIME:
            return f"the work of a running statement; its transaction, open for {age}, {_describe_unchanged(session)}"
        case Damage.CHANGES:
            return f"a transaction open for {age} that may have changed rows: they roll back"
        case Damage.WORK:
            return (
                f"the work of a running statement, and its transaction open for {age} that may have changed rows: "
                "they roll back"
            )


def _describe_unchanged(session: Session | None) -> str:
    """How sure it is that a transaction has changed nothing: it is, where it has no id."""
    return "shows no change" if session is not None and session.has_xid else "changed nothing"
