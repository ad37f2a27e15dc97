"""The last hour in memory: the highest of each half minute, gaps, and a size that nothing changes."""

from hypothesis import given
from hypothesis import strategies as st

from pgdoctor.agent.polling.recent_history import SLOT_SECONDS, SLOTS, RecentHistory

HOUR = SLOTS * SLOT_SECONDS


def test_each_slot_has_its_highest_value_and_gaps_are_none() -> None:
    history = RecentHistory()
    for seconds, blocked, connections in ((0, 3, 10), (29, 1, 12), (60, 0, 8)):
        history.add(1_000 * SLOT_SECONDS + seconds, blocked, connections)
    found = history.list_values(1_000 * SLOT_SECONDS + 95)
    assert found.blocked[-4:] == (3, None, 0, None)
    assert found.connections[-4:] == (12, None, 8, None)
    assert found.blocked[:-4] == (None,) * (SLOTS - 4)


def test_values_are_gone_after_an_hour() -> None:
    history = RecentHistory()
    history.add(5_000.0, 7, 70)
    assert 7 in history.list_values(5_000.0 + HOUR - SLOT_SECONDS).blocked
    assert set(history.list_values(5_000.0 + HOUR).blocked) == {None}
    history.add(1e9, 1, 1)
    assert history.list_values(1e9).blocked[-1] == 1


@given(st.lists(st.tuples(st.floats(0, 3 * HOUR), st.integers(0, 10_000))))
def test_series_are_those_of_a_list_of_all_polls(polls: list[tuple[float, int]]) -> None:
    history, all_polls = RecentHistory(), sorted(polls)
    for seconds, number in all_polls:
        history.add(1e6 + seconds, number, number)
    now = 1e6 + 3 * HOUR
    found = history.list_values(now).blocked
    newest = int(now / SLOT_SECONDS)
    expected: list[int | None] = [None] * SLOTS
    for seconds, number in all_polls:
        place = SLOTS - 1 - (newest - int((1e6 + seconds) / SLOT_SECONDS))
        if place >= 0:
            expected[place] = max(expected[place] or 0, number)
    assert list(found) == expected


def test_it_takes_960_bytes_of_numbers() -> None:
    history = RecentHistory()
    for poll in range(10_000):
        history.add(poll * 7.0, poll, poll)
    rings = [value for value in vars(history).values() if hasattr(value, "itemsize")]
    assert sum(ring.itemsize * len(ring) for ring in rings) == 960
