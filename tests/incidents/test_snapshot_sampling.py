"""Which looks at an incident are kept."""

from datetime import timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from pgdoctor.incidents.snapshot_sampling import AGES, MOST, SampledSnapshot, SnapshotSampler
from tests.building import NOW

LOOKS = st.lists(st.tuples(st.integers(1, 2_000), st.floats(0.1, 30), st.booleans()), min_size=1, max_size=200)


def kept(*looks: tuple[int, float, bool]) -> list[SampledSnapshot]:
    """What is kept of looks: how many are blocked, seconds after the one before, and whether something happened."""
    sampler, found, age = SnapshotSampler(), [], 0.0
    for place, (blocked, seconds, is_event) in enumerate(looks):
        age += seconds if place else 0.0
        if is_event or not place or sampler.wants(blocked, age):
            snap = SampledSnapshot(blocked, NOW + timedelta(seconds=age), b"")
            found.append(sampler.add(snap, age, is_event=is_event or not place))
    return [each for each in (*found, sampler.take_last()) if each is not None]


def test_a_quiet_one_is_kept_at_its_start_and_at_some_ages() -> None:
    ages = [(each.at - NOW).total_seconds() for each in kept(*[(3, 1.0, False)] * 400)]
    assert ages == [0.0, *AGES]


def test_growth_is_kept_at_each_doubling() -> None:
    found = [each.blocked for each in kept(*((number, 0.05, False) for number in range(1, 101)))]
    assert found[:4] == [1, 2, 4, 8]
    assert all(later >= 2 * earlier for earlier, later in pairwise(found[:-1]))
    assert found[-1] > 80


def test_a_storm_that_grows_fast_is_not_photographed_all_the_time() -> None:
    """A thousand within two seconds, ten looks a second."""
    assert len(kept(*((number * 50, 0.1, False) for number in range(1, 21)))) <= 5


def test_the_last_place_is_the_peaks() -> None:
    events = [(1, 0.1, True)] * 30
    assert [each.blocked for each in kept(*events, (50, 0.1, False), (900, 400.0, True), (3, 0.1, True))] == [
        *[1] * (MOST - 1),
        900,
    ]


def test_a_peak_between_two_polls_that_are_kept() -> None:
    found = kept((4, 1, False), (5, 1, False), (7, 1, False), (6, 1, False), (1, 1, False))
    assert [each.blocked for each in found] == [4, 7]


@given(LOOKS)
def test_start_and_peak_are_always_kept_within_the_limit(looks) -> None:
    # Not just as far apart as they have to be: the sum of many steps is rounded.
    calm = [(blocked, max(seconds, blocked * 0.0051), is_event) for blocked, seconds, is_event in looks]
    found = kept(*calm)
    assert len(found) <= MOST
    assert found[0].blocked == calm[0][0]
    # A poll that shows hardly more than one that was kept need not be kept itself.
    assert max(each.blocked for each in found) * 1.11 >= max(blocked for blocked, _, _ in calm)
