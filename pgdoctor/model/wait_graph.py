"""The wait-for graph: who waits for whom, who is at the root, and how many stand behind each blocker.

N sessions that queue for one row have N²/2 edges: each waits for all that are ahead of it. So a list of blockers that
continues another one shares it (`SharedEdges`), and all work here is linear in what is not shared. The sessions behind
a blocker are one big integer with a bit for each waiting session: the union of two such sets is one instruction for
every 64 sessions.

Sessions that wait for each other in a circle are one unit: it has no root, and the server's deadlock detector
will choose a victim. Order: Tarjan (1972), "Depth-first search and linear graph algorithms", without recursion.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Set
from itertools import compress

from pgdoctor.model.lazy import lazy
from pgdoctor.model.shared_edges import Node as Node
from pgdoctor.model.shared_edges import SharedEdges, is_group

#: Makes truth values of binary digits.
_DIGITS = bytes.maketrans(b"01", b"\0\1")


class WaitGraph:
    """Waits as `{waiter: blockers}`; immutable once built. A node may be both.

    Nodes are PIDs, and prepared transactions below zero. `afterwards`: for whom a waiter will wait when all those are
    gone, as far as that is known; each of them is ahead of one of its blockers.
    """

    def __init__(
        self, waits: Mapping[Node, Iterable[Node]], afterwards: Mapping[Node, Iterable[Node]] | None = None
    ) -> None:
        self._edges = SharedEdges(waits)
        self.blockers_of = self._edges.blockers_of
        #: Each waiting session's place in the bit sets.
        self._bit = {waiter: place for place, waiter in enumerate(self.blockers_of)}
        self._waiters = tuple(self.blockers_of)
        #: Those that have to go besides before a waiter moves.
        self._more: dict[Node, tuple[Node, ...]] = {
            waiter: tuple(
                node for node in dict.fromkeys(nodes) if node != waiter and not self.waits_directly(waiter, node)
            )
            for waiter, nodes in (afterwards or {}).items()
            if waiter in self.blockers_of
        }

    @property
    def waiters(self) -> tuple[Node, ...]:
        """All waiters, in the order given."""
        return self._waiters

    @lazy
    def blockers(self) -> Set[Node]:
        """All blockers."""
        return self._direct.keys()

    @lazy
    def roots(self) -> frozenset[Node]:
        """Blockers that do not wait."""
        return frozenset(node for node in self._direct if node not in self.blockers_of)

    @property
    def wait_count(self) -> int:
        """The number of (waiter, blocker) pairs."""
        return sum(map(len, self.blockers_of.values()))

    @lazy
    def cycles(self) -> tuple[tuple[Node, ...], ...]:
        """The groups of sessions that wait for each other in a circle."""
        members = (_without_groups(component) for component in self._components if len(component) > 1)
        return tuple(tuple(sorted(each)) for each in members if len(each) > 1)

    @lazy
    def in_cycle(self) -> frozenset[Node]:
        """Every member of a circle."""
        return frozenset(node for cycle in self.cycles for node in cycle)

    @lazy
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

    def count_blocked(self, node: Node) -> int:
        """How many sessions stand behind this one, directly or through others; never itself."""
        return self._behind_mask(node).bit_count()

    def iterate_behind(self, *nodes: Node) -> Iterator[Node]:
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
            fresh = set(self._edges.of(todo.pop())) - found
            found |= fresh
            todo.extend(fresh)
        return frozenset(node for node in found if not is_group(node))

    def direct_waiters(self, node: Node) -> Iterator[Node]:
        """The sessions that wait for this one without another in between."""
        return self._list_members(self._direct.get(node, 0))

    def measure_depth(self, node: Node) -> int:
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
        return frozenset(
            waiter
            for waiter in candidates
            if self._count_needed(waiter) <= len(cut)
            and cut.issuperset(self.blockers_of[waiter])
            and cut.issuperset(self._more.get(waiter, ()))
        )

    def released_in_turn(self, cut: frozenset[Node]) -> frozenset[Node]:
        """The waiters that go on when the nodes of `cut` release their locks, and each released session finishes.

        A session that another blocker blocks too, or that is in a circle that is not cut, stays.
        """
        gone, todo, left = set(cut), list(cut), dict(self._ahead)
        while todo:
            for follower in self._followers.get(todo.pop(), ()):
                left[follower] -= 1
                if not left[follower] and follower not in gone:
                    gone.add(follower)
                    todo.append(follower)
        return frozenset(node for node in gone - cut if not is_group(node))

    def count_shared(self, most: int) -> Counter[frozenset[Node]]:
        """The groups of two to `most` blockers that only together block sessions, and how many sessions."""
        return Counter(
            frozenset(blockers) | frozenset(self._more.get(waiter, ()))
            for waiter, blockers in self.blockers_of.items()
            if 2 <= self._count_needed(waiter) <= most
        )

    def waits_directly(self, waiter: Node, node: Node) -> bool:
        """The one waits for the other without another in between."""
        return waiter in self._bit and bool(self._direct.get(node, 0) & 1 << self._bit[waiter])

    def stands_behind(self, waiter: Node, node: Node) -> bool:
        """The one waits for the other, directly or through others."""
        return waiter in self._bit and bool(self._behind_mask(node) & 1 << self._bit[waiter])

    def _count_needed(self, waiter: Node) -> int:
        """How many have to go before a waiter moves."""
        return len(self.blockers_of[waiter]) + len(self._more.get(waiter, ()))

    def _union_masks(self, nodes: Iterable[Node]) -> int:
        mask = 0
        for node in nodes:
            mask |= self._behind_mask(node)
        return mask

    def _behind_mask(self, node: Node) -> int:
        mask = self._behind.get(node, 0)
        return mask & ~(1 << self._bit[node]) if node in self._bit else mask

    def _list_members(self, mask: int) -> Iterator[Node]:
        return compress(self._waiters, f"{mask:b}"[::-1].encode().translate(_DIGITS))

    @lazy
    def _direct(self) -> dict[Node, int]:
        """Each blocker's direct waiters."""
        return self._edges.collect_waiters(self._bit)

    @lazy
    def _ahead(self) -> dict[Node, int]:
        """How many have to go before each waiter moves, and each group of blockers is gone."""
        return {node: len(targets) + len(self._more.get(node, ())) for node, targets in self._edges.targets.items()}

    @lazy
    def _followers(self) -> dict[Node, list[Node]]:
        """The waiters and groups that each has to go for."""
        followers: dict[Node, list[Node]] = {}
        for node, targets in self._edges.targets.items():
            for target in (*targets, *self._more.get(node, ())):
                followers.setdefault(target, []).append(node)
        return followers

    @lazy
    def _alone(self) -> dict[Node, list[Node]]:
        """The waiters that each blocker alone blocks."""
        alone: dict[Node, list[Node]] = {}
        for waiter, blockers in self.blockers_of.items():
            if len(blockers) == 1 and not self._more.get(waiter):
                alone.setdefault(blockers[0], []).append(waiter)
        return alone

    @lazy
    def _components(self) -> list[list[Node]]:
        """Strongly connected components, blockers before those who wait for them; groups of blockers among them."""
        return _find_components(self._edges.targets)

    @lazy
    def _behind(self) -> dict[Node, int]:
        """All sessions behind each blocker; a member of a circle has its whole circle behind it, itself included."""
        behind: dict[Node, int] = {}
        for component in reversed(self._components):
            mask = 0
            for node in component:
                mask |= behind.get(node, 0)
            if len(component) > 1:
                mask |= sum(1 << self._bit[node] for node in _without_groups(component))
            for node in component:
                behind[node] = mask
                passed_on = mask | 1 << self._bit[node] if node in self._bit else mask
                for blocker in self._edges.of(node):
                    behind[blocker] = behind.get(blocker, 0) | passed_on
        return behind

    @lazy
    def _depth(self) -> dict[Node, int]:
        depth: dict[Node, int] = {}
        for component in self._components:
            inside = set(component)
            outside = [
                depth[blocker] for node in component for blocker in self._edges.of(node) if blocker not in inside
            ]
            step = max(outside, default=0)
            # To go from a waiter to its group of blockers is no step of a chain.
            if (outside or len(component) > 1) and not is_group(component[0] if len(component) == 1 else 0):
                step += 1
            for node in component:
                depth[node] = step
        return depth


def _without_groups(nodes: Iterable[Node]) -> list[Node]:
    return [node for node in nodes if not is_group(node)]


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
