"""Who stands behind whom, ready to be drawn: each root blocker with the sessions below it, each of them once."""

from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence

import msgspec

from pgdoctor.render.report import BlockerReport, Report, Wait

#: A session's PID, or a prepared transaction's gid.
Name = int | str | None


class OmittedRows(msgspec.Struct, frozen=True):
    """Children of a session that are not drawn, and the number of sessions with all behind them."""

    waits: tuple[Wait, ...] = ()
    sessions: int = 0


class Branch(msgspec.Struct, frozen=True):
    """A session that waits, and those who wait for it."""

    wait: Wait
    #: What is said of it as a blocker; None where it blocks no session.
    facts: BlockerReport | None
    below: tuple["Branch", ...]
    rest: OmittedRows


class WaitTree(msgspec.Struct, frozen=True):
    """A root blocker, or the first member of a circle, which has no root."""

    blocker: BlockerReport
    below: tuple[Branch, ...]
    rest: OmittedRows


def build_trees(
    report: Report,
    most_children: int,
    most_steps: int,
    most: int | None = None,
) -> Iterator[WaitTree]:
    """The trees of a report, widest first, cut to so many children of each, steps down, and sessions in each tree.

    A session that waits for several others hangs below the first that holds its lock. Children stand in the order of
    the queue, the longest wait first. Sessions nearer to the root are drawn before those further away.
    """
    grower = _TreeBuilder(report, most_children, most_steps, most)
    for blocker in report.blockers:
        if blocker.root or (blocker.in_cycle and name_blocker(blocker) not in grower.seen):
            yield grower.build_tree(blocker)


def name_blocker(blocker: BlockerReport) -> Name:
    """What its waiters name it by."""
    return blocker.pid if blocker.pid is not None else blocker.prepared_gid


def describe_blocker(blocker: BlockerReport) -> str:
    """A blocker for people."""
    return str(blocker.pid) if blocker.pid is not None else f"prepared transaction '{blocker.prepared_gid}'"


class _TreeBuilder:
    def __init__(
        self,
        report: Report,
        most_children: int,
        most_steps: int,
        most: int | None,
    ) -> None:
        #: The sessions that have a place in a tree, drawn or not.
        self.seen: set[Name] = set()
        self._facts = {name_blocker(blocker): blocker for blocker in report.blockers}
        self._children = _map_children(report)
        self._most_children = most_children
        self._most_steps = most_steps
        self._most = most if most is not None else len(report.waits)

    def build_tree(self, blocker: BlockerReport) -> WaitTree:
        below, order = self._place_sessions(name_blocker(blocker))
        drawn = self._choose_drawn(name_blocker(blocker), below)
        behind: dict[Name, int] = {}
        for each in reversed(order):
            behind[each] = 1 + sum(behind[wait.blocked_pid] for wait in below[each])
        return WaitTree(blocker, *self._grow_below(name_blocker(blocker), below, drawn, behind))

    def _place_sessions(self, root: Name) -> tuple[Mapping[Name, Sequence[Wait]], Sequence[Name]]:
        """Who hangs right below whom, for all behind a root; and all of them, the nearest first."""
        below: dict[Name, Sequence[Wait]] = {}
        order, coming = list[Name](), deque([root])
        self.seen.add(root)
        while coming:
            parent = coming.popleft()
            order.append(parent)
            below[parent] = [wait for wait in self._children.get(parent, ()) if wait.blocked_pid not in self.seen]
            self.seen.update(wait.blocked_pid for wait in below[parent])
            coming.extend(wait.blocked_pid for wait in below[parent])
        return below, order

    def _choose_drawn(self, root: Name, below: Mapping[Name, Sequence[Wait]]) -> Collection[Name]:
        """Whom to draw."""
        drawn: set[Name] = set()
        level: Sequence[Name] = [root]
        for _ in range(self._most_steps):
            level = [wait.blocked_pid for parent in level for wait in below[parent][: self._most_children]]
            level = level[: self._most - len(drawn)]
            drawn.update(level)
        return drawn

    def _grow_below(
        self, parent: Name, below: Mapping[Name, Sequence[Wait]], drawn: Collection[Name], behind: Mapping[Name, int]
    ) -> tuple[tuple[Branch, ...], OmittedRows]:
        left = tuple(wait for wait in below[parent] if wait.blocked_pid not in drawn)
        branches = tuple(
            Branch(wait, self._facts.get(wait.blocked_pid), *self._grow_below(wait.blocked_pid, below, drawn, behind))
            for wait in below[parent]
            if wait.blocked_pid in drawn
        )
        return branches, OmittedRows(left, sum(behind[wait.blocked_pid] for wait in left))


def _queue_order(wait: Wait) -> float:
    """The longest wait first; one whose beginning is not known yet has just begun."""
    return -(wait.wait_seconds or 0.0)


def _map_children(report: Report) -> Mapping[Name, Sequence[Wait]]:
    """Waits by blocker, each session below one only: the first it waits for, holders of the lock before queues."""
    chosen: dict[int, Wait] = {}
    for wait in report.waits:
        chosen.setdefault(wait.blocked_pid, wait)
    children: dict[Name, list[Wait]] = {}
    for wait in sorted(chosen.values(), key=_queue_order):
        children.setdefault(wait.blocking_pid if wait.blocking_pid is not None else wait.prepared_gid, []).append(wait)
    return children
