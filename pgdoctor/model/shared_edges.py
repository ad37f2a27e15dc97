"""The edges of a wait-for graph, with the blockers that waiters have in common kept once.

Each of a thousand sessions in line for one row waits for all that are ahead of it, in the order of the line. Half a
million edges are then a thousand: a list of blockers that begins with another one refers to it, and adds the rest. The
shared part is a node of its own, a *group*: a session that waits for it waits for its members.
"""

from collections.abc import Iterable, Mapping

Node = int

#: Groups are numbered from here on: no process has such a PID.
_FIRST_GROUP = 1 << 40

#: A list of fewer blockers is not worth a group.
_FEWEST = 3


def is_group(node: Node) -> bool:
    """It stands for blockers that waiters have in common."""
    return node >= _FIRST_GROUP


class SharedEdges:
    """The edges from each waiter to its blockers, some of them through groups."""

    def __init__(self, waits: Mapping[Node, Iterable[Node]]) -> None:
        given = {waiter: tuple(blockers) for waiter, blockers in waits.items()}
        lines = _Lines()
        by_length = sorted((each for each in given.items() if len(each[1]) >= _FEWEST), key=lambda each: len(each[1]))
        found = {waiter: lines.add(waiter, blockers) for waiter, blockers in by_length}
        edges = {
            waiter: found[waiter] if waiter in found else (_unique_blockers(blockers, waiter),) * 2
            for waiter, blockers in given.items()
        }
        #: All blockers of each waiter, in the order given.
        self.blockers_of: dict[Node, tuple[Node, ...]] = {
            waiter: blockers for waiter, (blockers, _) in edges.items() if blockers
        }
        #: From each waiter and each group to blockers and groups. A group comes behind the one that it continues.
        self.targets: dict[Node, tuple[Node, ...]] = {
            waiter: edges[waiter][1] for waiter in self.blockers_of
        } | lines.groups
        self._groups = lines.groups

    def of(self, node: Node) -> tuple[Node, ...]:
        """The blockers of a waiter or a group, and groups of them."""
        return self.targets.get(node, ())

    def collect_waiters(self, bits: Mapping[Node, int]) -> dict[Node, int]:
        """For each blocker those that wait for it, as the sum of their bits. `bits`: the place of each waiter's."""
        found: dict[Node, int] = {}
        for waiter, place in bits.items():
            _add_mask(found, self.targets[waiter], 1 << place)
        # A waiter of a group waits for the group that this one continues: the last first.
        for group in reversed(self._groups):
            _add_mask(found, self._groups[group], found.pop(group))
        return found


class _Lines:
    """Lists of blockers, the shortest first, of which each may continue the one before."""

    def __init__(self) -> None:
        self.groups: dict[Node, tuple[Node, ...]] = {}
        #: By their first two blockers: the longest list so far, its members as a set, and its group.
        self._longest: dict[tuple[Node, ...], tuple[tuple[Node, ...], set[Node], Node]] = {}

    def add(self, waiter: Node, blockers: tuple[Node, ...]) -> tuple[tuple[Node, ...], tuple[Node, ...]]:
        """The blockers, each once and never the waiter; and the edges to them."""
        line, members, group = self._longest.get(blockers[:2], ((), set(), 0))
        if blockers[: len(line)] != line:
            line, members, group = (), set(), 0
        rest = blockers[len(line) :]
        is_unique = len({*rest}) == len(rest) and members.isdisjoint(rest)
        if not is_unique or waiter in members or waiter in rest:
            return (_unique_blockers(blockers, waiter),) * 2
        if rest:
            number = _FIRST_GROUP + len(self.groups)
            self.groups[number] = (group, *rest) if line else rest
            members.update(rest)
            self._longest[blockers[:2]] = blockers, members, number
            group = number
        return blockers, (group,)


def _unique_blockers(blockers: Iterable[Node], waiter: Node) -> tuple[Node, ...]:
    """Each blocker once (the server names a parallel leader once for each worker), in order; never the waiter."""
    found = dict.fromkeys(blockers)
    found.pop(waiter, None)
    return tuple(found)


def _add_mask(found: dict[Node, int], nodes: tuple[Node, ...], mask: int) -> None:
    for node in nodes:
        found[node] = found.get(node, 0) | mask
