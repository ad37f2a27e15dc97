"""What each possible cut would free, and what it would cost.

A waiter moves at once when everybody it waits for is in the cut. It moves in turn when, besides, it only waits for
sessions that themselves move: the readers behind a queued ALTER move at once when the ALTER is cancelled, and in
turn, after the ALTER has run, when the idle transaction in front of it is ended.
"""

from collections.abc import Iterable

import msgspec

from pgdoctor.diagnosis.cause import Action
from pgdoctor.diagnosis.diagnosis import Blocker
from pgdoctor.diagnosis.graph import WaitGraph

#: Blockers whose cut is worked out, the widest reach first.
MOST_CUTS = 20

#: What a cut takes away, the least harmful first.
_HARM = ("nothing but a retry", "an open transaction that did nothing", "the work of a running statement")


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


def cuts(blockers: Iterable[Blocker], graph: WaitGraph) -> tuple[Cut, ...]:
    """The cuts that free somebody, the best first: most sessions at once, then the least harm."""
    worth = [blocker for blocker in blockers if blocker.recommendation.action != "none"]
    worth.sort(key=lambda blocker: -blocker.blocked_sessions)
    found = [cut for blocker in worth[:MOST_CUTS] if (cut := _cut(blocker, graph)) is not None]
    return tuple(
        sorted(found, key=lambda cut: (-cut.frees_at_once, _HARM.index(cut.loses), -cut.frees_in_turn, cut.pid))
    )


def _cut(blocker: Blocker, graph: WaitGraph) -> Cut | None:
    if blocker.pid is None or blocker.node in graph.in_cycle:
        return None
    node = frozenset({blocker.node})
    at_once = graph.released_at_once(node)
    if not at_once:
        return None
    return Cut(
        action=blocker.recommendation.action,
        pid=blocker.pid,
        frees_at_once=len(at_once),
        frees_in_turn=len(graph.released_in_turn(node)),
        exact=blocker.by_table_locks,
        loses=_HARM[_harm(blocker)],
        reason=blocker.recommendation.reason,
    )


def _harm(blocker: Blocker) -> int:
    if not blocker.root:
        return 0
    return 1 if blocker.classification == "idle_in_transaction" else 2
