"""Sessions that are alike, shown together: a thousand who wait for the same with the same statement are one line."""

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import TypeVar

import msgspec

from pgdoctor.render.report import Wait
from pgdoctor.render.wait_trees import Branch, OmittedRows, WaitTree

T = TypeVar("T")

#: From so many on they are one line.
FEWEST = 3

#: PIDs that are named of a group; the rest is counted.
_MOST_NAMED = 5


class Crowd(msgspec.Struct, frozen=True):
    """Sessions without waiters of their own that await one lock and run one statement."""

    waits: tuple[Wait, ...]


def group_items(items: Iterable[T], key: Callable[[T], Hashable]) -> list[list[T]]:
    """Items with the same key together, in the order of the first of each; those of key None stay alone."""
    found: dict[Hashable, list[T]] = {}
    for item in items:
        about = key(item)
        found.setdefault(("alone", id(item)) if about is None else ("alike", about), []).append(item)
    return list(found.values())


def group_branches(branches: Sequence[Branch]) -> list[Branch | Crowd]:
    """Branches, with those that are alike made one."""
    found: list[Branch | Crowd] = []
    for group in group_items(branches, _branch_kind):
        if len(group) < FEWEST:
            found += group
        else:
            found.append(Crowd(tuple(branch.wait for branch in group)))
    return found


def _branch_kind(branch: Branch) -> Hashable:
    wait, facts = branch.wait, branch.facts
    if branch.below or branch.rest.sessions:
        return None
    classification = facts.classification if facts else "unknown"
    about = (wait.blocked_user, wait.blocked_application, wait.blocked_statement, wait.waits_for, wait.queued)
    return (*about, classification)


def sessions_in(part: Branch | Crowd | WaitTree) -> int:
    """How many sessions wait in it."""
    if isinstance(part, Crowd):
        return len(part.waits)
    return sum(map(sessions_in, part.below)) + part.rest.sessions + isinstance(part, Branch)


def rest_of(parts: Sequence[Branch | Crowd], rest: OmittedRows) -> OmittedRows:
    """What is left out where these are not drawn either."""
    waits = [wait for part in parts for wait in (part.waits if isinstance(part, Crowd) else (part.wait,))]
    return OmittedRows((*waits, *rest.waits), sum(map(sessions_in, parts)) + rest.sessions)


def roots_alike(trees: Iterable[WaitTree]) -> list[list[WaitTree]]:
    """Trees whose roots are of one kind together; fewer than FEWEST stay alone."""
    found: list[list[WaitTree]] = []
    for group in group_items(trees, _kind_of_root):
        found += [group] if len(group) >= FEWEST else [[tree] for tree in group]
    return found


def _kind_of_root(tree: WaitTree) -> Hashable:
    root = tree.blocker
    if root.pid is None or root.in_cycle:
        return None
    who = (root.user, root.database, root.application)
    return (root.classification, root.also, root.place, root.recommendation.action, *who)


def list_pids(pids: Sequence[int], most: int = _MOST_NAMED) -> str:
    """`31, 32, 33, 34, 35 and 7 more`."""
    rest = len(pids) - most
    return ", ".join(map(str, pids[:most])) + (f" and {rest:,} more" if rest > 0 else "")
