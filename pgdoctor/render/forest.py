"""Who stands behind whom, ready to be drawn: each root blocker with the sessions below it, each of them once."""

from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec

from pgdoctor.render.report import BlockerFacts, Report, Wait

#: A session's PID, or a prepared transaction's gid.
Name = int | str | None


class Branch(msgspec.Struct, frozen=True):
    """A session that waits, and those who wait for it."""

    wait: Wait
    #: What is said of it as a blocker; None where it blocks nobody.
    facts: BlockerFacts | None
    below: tuple["Branch", ...]
    #: Sessions right below it that are left out.
    more: int


class Tree(msgspec.Struct, frozen=True):
    """A root blocker, or the first member of a circle, which has no root."""

    blocker: BlockerFacts
    below: tuple[Branch, ...]
    more: int


def forest(
    report: Report, most_children: int, most_steps: int, order: Callable[[Wait], float] = lambda _: 0.0
) -> Iterator[Tree]:
    """The trees of a report, widest first, cut to so many children of each and so many steps down.

    A session that waits for several others hangs below the first that holds its lock. Children are sorted by `order`.
    """
    grower = _Grower(report, most_children, most_steps, order)
    for blocker in report.blockers:
        if blocker.root or (blocker.in_cycle and name(blocker) not in grower.drawn):
            yield grower.tree(blocker)


def name(blocker: BlockerFacts) -> Name:
    """What its waiters name it by."""
    return blocker.pid if blocker.pid is not None else blocker.prepared_gid


def who(blocker: BlockerFacts) -> str:
    """A blocker for people."""
    return str(blocker.pid) if blocker.pid is not None else f"prepared transaction '{blocker.prepared_gid}'"


class _Grower:
    def __init__(self, report: Report, most_children: int, most_steps: int, order: Callable[[Wait], float]) -> None:
        self.drawn: set[Name] = set()
        self._facts = {name(blocker): blocker for blocker in report.blockers}
        self._children = _children(report, order)
        self._most_children = most_children
        self._most_steps = most_steps

    def tree(self, blocker: BlockerFacts) -> Tree:
        self.drawn.add(name(blocker))
        return Tree(blocker, *self._below(name(blocker), 1))

    def _below(self, parent: Name, step: int) -> tuple[tuple[Branch, ...], int]:
        if step > self._most_steps:
            return (), 0
        waits = [wait for wait in self._children.get(parent, ()) if wait.blocked_pid not in self.drawn]
        self.drawn.update(wait.blocked_pid for wait in waits)
        branches = (
            Branch(wait, self._facts.get(wait.blocked_pid), *self._below(wait.blocked_pid, step + 1))
            for wait in waits[: self._most_children]
        )
        return tuple(branches), max(len(waits) - self._most_children, 0)


def _children(report: Report, order: Callable[[Wait], float]) -> Mapping[Name, Sequence[Wait]]:
    """Waits by blocker, each session below one only: the first it waits for, holders of the lock before queues."""
    chosen: dict[int, Wait] = {}
    for wait in report.waits:
        chosen.setdefault(wait.blocked_pid, wait)
    children: dict[Name, list[Wait]] = {}
    for wait in sorted(chosen.values(), key=order):
        children.setdefault(wait.blocking_pid if wait.blocking_pid is not None else wait.prepared_gid, []).append(wait)
    return children
