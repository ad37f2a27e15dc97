"""The wait-for graph: who waits for whom, who is at the root, and how many stand behind each blocker.

N sessions that queue for one row have N²/2 edges, so everything here is linear in the edges and keeps them as
integers. The sessions behind a blocker are one big integer with a bit for each waiting session: the union of two such
sets is one instruction for every 64 sessions.

Sessions that wait for each other in a circle are one unit: it has no root, and the server's deadlock detector
will choose a victim. Order: Tarjan (1972), "Depth-first search and linear graph algorithms", without recursion.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Set
from functools import cached_property

Node = int


class WaitGraph:
    """Waits as `{waiter: blockers}`; immutable once built. A node may be both.

    Nodes are PIDs, and prepared transactions below zero. `afterwards`: for whom a waiter will wait when all those are
    gone, as far as that is known; each of them is ahead of one of its blockers.
    """

    def __init__(
        self, waits: Mapping[Node, Iterable[Node]], afterwards: Mapping[Node, Iterable[Node]] | None = None
    ) -> None:
        self.blockers_of: dict[Node, tuple[Node, ...]] = {
            waiter: unique for waiter, blockers in waits.items() if (unique := _unique_blockers(blockers, waiter))
        }
        #: All that have to go before a waiter moves.
        self._needed = self.blockers_of
        if afterwards:
            following = {waiter: nodes for waiter, nodes in afterwards.items() if waiter in self.blockers_of}
            more = {
                waiter: _unique_blockers((*self.blockers_of[waiter], *nodes), waiter)
                for waiter, nodes in following.items()
            }
            self._needed = self.blockers_of | more
        #: Each waiting session's place in the bit sets.
        self._bit = {waiter: place for place, waiter in enumerate(self.blockers_of)}
        self._waiters = tuple(self.blockers_of)

    @property
    def waiters(self) -> tuple[Node, ...]:
        """Everybody who waits, in the order given."""
        return self._waiters

    @cached_property
    def blockers(self) -> Set[Node]:
        """Everybody who is waited for."""
        return self._direct.keys()

    @cached_property
    def roots(self) -> frozenset[Node]:
        """Blockers that do not wait."""
        return frozenset(node for node in self._direct if node not in self.blockers_of)

    @property
    def wait_count(self) -> int:
        """The number of (waiter, blocker) pairs."""
        return sum(map(len, self.blockers_of.values()))

    @cached_property
    def cycles(self) -> tuple[tuple[Node, ...], ...]:
        """The groups of sessions that wait for each other in a circle."""
        return tuple(tuple(sorted(group)) for group in self._components if len(group) > 1)

    @cached_property
    def in_cycle(self) -> frozenset[Node]:
        """Every member of a circle."""
        return frozenset(node for cycle in self.cycles for node in cycle)

    @cached_property
    def incidents(self) -> int:
        """The number of independent incidents: groups of root blockers without a common waiter."""
        return len(self.incident_members)

    @cached_property
    def incident_members(self) -> tuple[frozenset[Node], ...]:
        """For each independent incident its root blockers and the sessions behind them."""
        groups: list[tuple[int, frozenset[Node]]] = []
        for root in self.roots:
            mask, roots = self._behind_mask(root), frozenset({root})
            joined = [group for group in groups if group[0] & mask]
            groups = [group for group in groups if not group[0] & mask]
            for other_mask, other_roots in joined:
                mask, roots = mask | other_mask, roots | other_roots
            groups.append((mask, roots))
        return tuple(roots.union(self._list_members(mask)) for mask, roots in groups)

    def directly_blocked(self, node: Node) -> int:
        """How many sessions wait for this one without another in between."""
        return self._direct.get(node, 0).bit_count()

    def blocked(self, node: Node) -> int:
        """How many sessions stand behind this one, directly or through others; never itself."""
        return self._behind_mask(node).bit_count()

    def behind(self, *nodes: Node) -> Iterator[Node]:
        """The sessions that stand behind any of the nodes."""
        return self._list_members(self._union_masks(nodes))

    def roots_of(self, waiter: Node) -> Iterator[Node]:
        """The root blockers that a session stands behind."""
        bit = 1 << self._bit[waiter] if waiter in self._bit else 0
        return (root for root in self.roots if self._behind_mask(root) & bit)

    def ahead_of(self, waiters: Iterable[Node]) -> frozenset[Node]:
        """All nodes that one of the waiters waits for, directly or through others."""
        found: set[Node] = set()
        todo = list(waiters)
        while todo:
            fresh = set(self.blockers_of.get(todo.pop(), ())) - found
            found |= fresh
            todo.extend(fresh)
        return frozenset(found)

    def direct_waiters(self, node: Node) -> Iterator[Node]:
        """The sessions that wait for this one without another in between."""
        return self._list_members(self._direct.get(node, 0))

    def depth(self, node: Node) -> int:
        """The longest chain of waits from this session to a root: 0 for a root, 1 for who waits for it.

        In a circle all members count as one step.
        """
        return self._depth.get(node, 0)

    def released_at_once(self, cut: frozenset[Node]) -> frozenset[Node]:
        """The waiters that are no longer blocked when the nodes of `cut` release their locks.

        A session behind a released one still has to wait its turn; see `released_in_turn`.
        """
        if len(cut) == 1:
            return frozenset(self._alone.get(next(iter(cut)), ()))
        candidates = {waiter for node in cut for waiter in self.direct_waiters(node)} - cut
        return frozenset(waiter for waiter in candidates if cut.issuperset(self._needed[waiter]))

    def released_in_turn(self, cut: frozenset[Node]) -> frozenset[Node]:
        """The waiters that go on when the nodes of `cut` release their locks, and each released session finishes.

        A session that another blocker blocks too, or that is in a circle that is not cut, stays.
        """
        gone = set(cut)
        for group in self._components:
            # Blockers come first, so that once through is enough; only within a circle it takes more.
            todo = [node for node in group if node in self.blockers_of and node not in gone]
            while moving := [node for node in todo if gone.issuperset(self._needed[node])]:
                gone.update(moving)
                todo = [node for node in todo if node not in gone]
        return frozenset(gone - cut)

    def shared(self, most: int) -> Counter[frozenset[Node]]:
        """The groups of two to `most` blockers that only together block sessions, and how many sessions."""
        return Counter(frozenset(blockers) for blockers in self._needed.values() if 2 <= len(blockers) <= most)

    def _union_masks(self, nodes: Iterable[Node]) -> int:
        mask = 0
        for node in nodes:
            mask |= self._behind_mask(node)
        return mask

    def _behind_mask(self, node: Node) -> int:
        mask = self._behind.get(node, 0)
        return mask & ~(1 << self._bit[node]) if node in self._bit else mask

    def _list_members(self, mask: int) -> Iterator[Node]:
        while mask:
            lowest = mask & -mask
            yield self._waiters[lowest.bit_length() - 1]
            mask ^= lowest

    @cached_property
    def _direct(self) -> dict[Node, int]:
        """Each blocker's direct waiters."""
        direct: dict[Node, int] = {}
        for waiter, blockers in self.blockers_of.items():
            bit = 1 << self._bit[waiter]
            for blocker in blockers:
                direct[blocker] = direct.get(blocker, 0) | bit
        return direct

    @cached_property
    def _alone(self) -> dict[Node, list[Node]]:
        """The waiters that each blocker alone blocks."""
        alone: dict[Node, list[Node]] = {}
        for waiter, blockers in self._needed.items():
            if len(blockers) == 1:
                alone.setdefault(blockers[0], []).append(waiter)
        return alone

    @cached_property
    def _components(self) -> list[list[Node]]:
        """Strongly connected components, blockers before those who wait for them."""
        return _find_components(self.blockers_of)

    @cached_property
    def _behind(self) -> dict[Node, int]:
        """Everybody behind each blocker; a member of a circle has its whole circle behind it, itself included."""
        behind: dict[Node, int] = {}
        for group in reversed(self._components):
            mask = 0
            for node in group:
                mask |= behind.get(node, 0)
            if len(group) > 1:
                mask |= sum(1 << self._bit[node] for node in group)
            for node in group:
                behind[node] = mask
                passed_on = mask | 1 << self._bit[node] if node in self._bit else mask
                for blocker in self.blockers_of.get(node, ()):
                    behind[blocker] = behind.get(blocker, 0) | passed_on
        return behind

    @cached_property
    def _depth(self) -> dict[Node, int]:
        depth: dict[Node, int] = {}
        for group in self._components:
            inside = set(group)
            outside = [
                depth[blocker] for node in group for blocker in self.blockers_of.get(node, ()) if blocker not in inside
            ]
            step = 1 + max(outside, default=0) if outside or len(group) > 1 else 0
            for node in group:
                depth[node] = step
        return depth


def _unique_blockers(blockers: Iterable[Node], waiter: Node) -> tuple[Node, ...]:
    """Each blocker once (the server names a parallel leader once for each worker), in order; never the waiter."""
    found = dict.fromkeys(blockers)
    found.pop(waiter, None)
    return tuple(found)


def _find_components(edges: Mapping[Node, tuple[Node, ...]]) -> list[list[Node]]:
    """Tarjan's strongly connected components; a component comes after all that its edges lead to."""
    index: dict[Node, int] = {}
    low: dict[Node, int] = {}
    on_stack: set[Node] = set()
    stack: list[Node] = []
    found: list[list[Node]] = []
    for start in edges:
        if start in index:
            continue
        path = [(start, iter(edges[start]))]
        index[start] = low[start] = len(index)
        stack.append(start)
        on_stack.add(start)
        while path:
            node, targets = path[-1]
            for target in targets:
                if target not in index:
                    index[target] = low[target] = len(index)
                    stack.append(target)
                    on_stack.add(target)
                    path.append((target, iter(edges.get(target, ()))))
                    break
                if target in on_stack:
                    low[node] = min(low[node], index[target])
            else:
                path.pop()
                if path:
                    low[path[-1][0]] = min(low[path[-1][0]], low[node])
                if low[node] == index[node]:
                    found.append(_pop_component(stack, on_stack, node))
    return found


def _pop_component(stack: list[Node], on_stack: set[Node], root: Node) -> list[Node]:
    component = []
    while True:
        node = stack.pop()
        on_stack.discard(node)
        component.append(node)
        if node == root:
            return component
