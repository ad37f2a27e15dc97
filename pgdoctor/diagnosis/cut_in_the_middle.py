"""Sessions in the middle of a chain whose end frees others, where the session at its root must not be signalled.

A leader holds an advisory lock; a worker waits for it, and holds rows that ten others want. The leader has to stay, but
a cancel of the worker's request frees the ten at once.
"""

from collections.abc import Sequence

from msgspec.structs import replace

from pgdoctor.diagnosis.blocker.deafness import explain_deafness
from pgdoctor.model.diagnosis import Blocker
from pgdoctor.model.remedy import Remedy
from pgdoctor.model.wait_graph import Node, WaitGraph

#: Blockers that are examined, the widest reach first: a convoy has a thousand.
_MOST = 20

_RETRY = Remedy(
    "cancel", "its blocker must not be ended; a cancel removes its request and frees the sessions behind it"
)
_REPEAT = Remedy("cancel", f"{_RETRY.reason}; earlier changes of its transaction roll back")


def recommend_cuts(blockers: Sequence[Blocker], graph: WaitGraph) -> list[Blocker]:
    """The blockers, with a cancel for each that only waits in line, and that no other signal would set free."""
    lasting = {each.node for each in blockers if each.root and _must_stay(each)}
    if not lasting:
        return list(blockers)
    freed = _freed_by_others(blockers, graph)
    cut: set[Node] = set()
    for each in [each for each in blockers if _only_waits(each)][:_MOST]:
        if each.node not in freed and not lasting.isdisjoint(graph.roots_of(each.node)) and _frees_some(each, graph):
            cut.add(each.node)
            freed |= graph.released_in_turn(frozenset({each.node}))
    return [_with_cut(each) if each.node in cut else each for each in blockers]


def _freed_by_others(blockers: Sequence[Blocker], graph: WaitGraph) -> set[Node]:
    """The sessions that move, at once or in turn, after a signal that is recommended already."""
    signalled = [each.node for each in blockers if each.recommendation.action != "none"][:_MOST]
    return {node for each in signalled for node in graph.released_in_turn(frozenset({each}))}


def _must_stay(root: Blocker) -> bool:
    return root.recommendation.action == "none" and not root.recommendation.is_over_soon


def _only_waits(blocker: Blocker) -> bool:
    session = blocker.session
    return (
        session is not None
        and session.backend_type == "client backend"
        and not (blocker.root or blocker.in_cycle)
        and blocker.classification == "unknown"
        and explain_deafness(session) is None
    )


def _frees_some(blocker: Blocker, graph: WaitGraph) -> bool:
    return bool(graph.released_at_once(frozenset({blocker.node})))


def _with_cut(blocker: Blocker) -> Blocker:
    changed = blocker.session is not None and blocker.session.has_changes
    return replace(blocker, recommendation=_REPEAT if changed else _RETRY)
