"""The wait-for graph against a naive one, on any graph; and its size on the expensive shapes."""

import sys

from hypothesis import given
from hypothesis import strategies as st

from pgdoctor.model.wait_graph import WaitGraph

NODES = st.integers(-2, 9)
ANY_WAITS = st.dictionaries(st.integers(1, 9), st.lists(NODES, max_size=5), max_size=9)


@st.composite
def lines(draw: st.DrawFn) -> dict[int, list[int]]:
    """Waiters in one or two lines: each waits for those that are ahead, and some for others besides."""
    waits: dict[int, list[int]] = {}
    for members in (draw(st.permutations(range(1, 10))), draw(st.permutations(range(1, 10)))):
        for place in draw(st.sets(st.integers(1, 8), max_size=8)):
            waits[members[place]] = [*members[:place], *draw(st.lists(NODES, max_size=1))]
    return waits


WAITS = ANY_WAITS | lines()


def edges(waits: dict[int, list[int]]) -> set[tuple[int, int]]:
    return {(waiter, blocker) for waiter, blockers in waits.items() for blocker in blockers if blocker != waiter}


def naive_behind(waits: dict[int, list[int]], node: int) -> set[int]:
    behind: set[int] = set()
    todo = [node]
    while todo:
        blocker = todo.pop()
        for waiter, other in edges(waits):
            if other == blocker and waiter not in behind:
                behind.add(waiter)
                todo.append(waiter)
    return behind - {node}


def test_without_waits_there_is_nothing() -> None:
    graph = WaitGraph({})
    assert not graph.waiters
    assert not graph.blockers
    assert not graph.roots
    assert not graph.cycles
    assert graph.wait_count == graph.measure_depth(1) == graph.count_blocked(1) == 0


def test_a_waiter_that_waits_for_no_session_is_no_waiter() -> None:
    assert not WaitGraph({1: (), 2: (2,)}).waiters


def test_the_same_blocker_named_twice_is_one_wait() -> None:
    graph = WaitGraph({1: (7, 7)})
    assert graph.wait_count == 1
    assert graph.blockers_of[1] == (7,)


def test_a_queued_blocker_is_no_root_but_has_its_own_reach() -> None:
    graph = WaitGraph({2: (1,), 3: (2,), 4: (2,)})
    assert graph.roots == {1}
    assert [*graph.roots_of(4)] == [1]
    assert not [*graph.roots_of(1)]
    assert (graph.directly_blocked(1), graph.count_blocked(1)) == (1, 3)
    assert (graph.directly_blocked(2), graph.count_blocked(2)) == (2, 2)
    assert [graph.measure_depth(node) for node in (1, 2, 3)] == [0, 1, 2]


def test_waiter_with_a_next_blocker_is_not_released() -> None:
    graph = WaitGraph({2: (1,), 3: (2,), 4: (2, 3), 5: (2,)}, afterwards={3: (1,), 4: (1,)})
    assert graph.released_at_once(frozenset({2})) == graph.released_in_turn(frozenset({2})) == {5}
    assert graph.released_at_once(frozenset({1, 2})) == {3, 5}
    assert graph.released_in_turn(frozenset({1})) == {2, 3, 4, 5}
    assert (graph.directly_blocked(1), graph.count_blocked(1), graph.wait_count) == (1, 4, 5)


def test_a_circle_is_one_unit_without_a_root() -> None:
    graph = WaitGraph({1: (2,), 2: (1,), 3: (1,)})
    assert graph.roots == frozenset()
    assert graph.cycles == ((1, 2),)
    assert graph.in_cycle == {1, 2}
    assert graph.count_blocked(1) == 2
    assert graph.count_blocked(2) == 2
    assert not graph.released_in_turn(frozenset({9}))


def test_cutting_the_queued_one_frees_those_behind_it_at_once() -> None:
    graph = WaitGraph({2: (1,), 3: (2,), 4: (2,)})
    assert graph.released_at_once(frozenset({2})) == {3, 4}
    assert graph.released_at_once(frozenset({1})) == {2}
    assert graph.released_in_turn(frozenset({1})) == {2, 3, 4}


def test_cutting_one_of_two_blockers_frees_no_session() -> None:
    graph = WaitGraph({3: (1, 2), 4: (3,)})
    assert not graph.released_at_once(frozenset({1}))
    assert not graph.released_in_turn(frozenset({1}))
    assert graph.released_in_turn(frozenset({1, 2})) == {3, 4}


@given(WAITS)
def test_reach_equals_the_naive_one(waits: dict[int, list[int]]) -> None:
    graph = WaitGraph(waits)
    for node in {blocker for _, blocker in edges(waits)}:
        assert set(graph.iterate_behind(node)) == naive_behind(waits, node)
        assert graph.count_blocked(node) == len(naive_behind(waits, node))
        assert graph.directly_blocked(node) == len({waiter for waiter, blocker in edges(waits) if blocker == node})


@given(WAITS)
def test_roots_block_and_do_not_wait(waits: dict[int, list[int]]) -> None:
    waiters = {waiter for waiter, _ in edges(waits)}
    assert WaitGraph(waits).roots == {blocker for _, blocker in edges(waits)} - waiters


@given(WAITS)
def test_circle_has_the_sessions_behind_themselves(waits: dict[int, list[int]]) -> None:
    graph = WaitGraph(waits)
    circular = {
        node for node in waits if any(node in naive_behind(waits, other) for other in naive_behind(waits, node))
    }
    assert graph.in_cycle == circular


@given(WAITS, st.frozensets(NODES, max_size=3))
def test_released_in_turn_is_the_fixed_point_of_released_at_once(
    waits: dict[int, list[int]], cut: frozenset[int]
) -> None:
    graph = WaitGraph(waits)
    gone = cut
    while more := graph.released_at_once(gone):
        gone |= more
    assert graph.released_in_turn(cut) == gone - cut
    assert graph.released_at_once(cut) <= graph.released_in_turn(cut)


@given(WAITS, st.dictionaries(st.integers(1, 9), st.lists(NODES, max_size=2), max_size=4))
def test_all_that_has_to_go_is_gone_before_a_waiter_is_released(
    waits: dict[int, list[int]], afterwards: dict[int, list[int]]
) -> None:
    graph = WaitGraph(waits, afterwards)
    for cut in map(frozenset, ({1}, {2, 3}, {1, 4, 5})):
        gone = set(cut)
        while more := {
            waiter for waiter, blockers in graph.blockers_of.items()
            if waiter not in gone and gone | {waiter} >= {*blockers, *afterwards.get(waiter, ())}
        }:  # fmt: skip
            gone |= more
        assert graph.released_in_turn(cut) == gone - cut


@given(WAITS)
def test_a_session_stands_behind_just_those_it_waits_for(waits: dict[int, list[int]]) -> None:
    graph = WaitGraph(waits)
    for node in range(-2, 10):
        assert {other for other in range(-2, 10) if graph.stands_behind(other, node)} == set(graph.iterate_behind(node))
        direct = {other for other in range(-2, 10) if graph.waits_directly(other, node)}
        assert direct == set(graph.direct_waiters(node))
        ahead = {other for other in range(-2, 10) if node in naive_behind(waits, other) | {other}}
        assert graph.ahead_of([node]) - {node} == ahead - {node}


@given(WAITS)
def test_depth_is_that_of_the_longest_chain_of_waits(waits: dict[int, list[int]]) -> None:
    graph = WaitGraph(waits)
    if graph.cycles:
        return
    for node in graph.waiters:
        assert graph.measure_depth(node) == 1 + max(graph.measure_depth(blocker) for blocker in graph.blockers_of[node])


@given(WAITS)
def test_depth_grows_by_one_along_every_wait_outside_of_circles(waits: dict[int, list[int]]) -> None:
    graph = WaitGraph(waits)
    for waiter, blocker in edges(waits):
        if not {waiter, blocker} <= graph.in_cycle:
            assert graph.measure_depth(waiter) > graph.measure_depth(blocker)
    assert all(graph.measure_depth(root) == 0 for root in graph.roots)


def test_a_convoy_of_a_thousand_has_half_a_million_waits_and_one_root() -> None:
    graph = WaitGraph({pid: tuple(range(pid)) for pid in range(1, 1001)})
    assert graph.wait_count == 500_500
    assert graph.roots == {0}
    assert graph.count_blocked(0) == graph.measure_depth(1000) == 1000


def test_a_chain_longer_than_the_recursion_limit_is_walked() -> None:
    length = sys.getrecursionlimit() * 5
    graph = WaitGraph({pid: (pid - 1,) for pid in range(1, length)})
    assert graph.measure_depth(length - 1) == length - 1
    assert graph.released_in_turn(frozenset({0})) == set(range(1, length))


@given(WAITS, st.lists(NODES, max_size=3))
def test_ahead_is_the_other_way_of_behind(waits: dict[int, list[int]], waiters: list[int]) -> None:
    graph = WaitGraph(waits)
    everybody = {node for pair in edges(waits) for node in pair}
    ahead = {node for node in everybody if set(waiters) & naive_behind(waits, node)}
    # A member of a circle is not behind itself, though it is ahead of itself.
    assert graph.ahead_of(waiters) - graph.in_cycle == ahead - graph.in_cycle
    assert graph.ahead_of(waiters) >= ahead
