"""Rates between readings: what databases count, what was reset, and what our own session adds in bursts."""

from datetime import timedelta

from pgdoctor.model.activity import Activity, DatabaseCounters
from pgdoctor.observer.activity_rates import ActivityRateObserver
from tests.building import NOW


def reading(seconds: float, own: int = 0, **counters: tuple[int, int]) -> Activity:
    databases = {int(name[2:]): DatabaseCounters(*each) for name, each in counters.items()}
    return Activity(NOW + timedelta(seconds=seconds), counters=databases, own_transactions=own)


def test_rate_is_known_after_a_second() -> None:
    observer = ActivityRateObserver()
    assert observer.observe(reading(0, db1=(100, 3))).transactions_per_second is None
    assert observer.observe(reading(0.5, db1=(110, 3))).transactions_per_second is None
    later = observer.observe(reading(2, db1=(160, 4)))
    assert (later.transactions_per_second, later.deadlocks) == (30.0, 1)


def test_only_the_last_seconds_count_for_the_rate_and_all_for_deadlocks() -> None:
    observer = ActivityRateObserver()
    for second in range(20):
        found = observer.observe(reading(second, db1=(1_000 * min(second, 5), second)))
    assert (found.transactions_per_second, found.deadlocks) == (0.0, 19)


def test_database_that_comes_or_was_reset_counts_nothing() -> None:
    observer = ActivityRateObserver()
    observer.observe(reading(0, db1=(500, 9)))
    found = observer.observe(reading(2, db1=(3, 0), db2=(1_000_000, 50)))
    assert (found.transactions_per_second, found.deadlocks) == (0.0, 0)


def test_own_transactions_are_left_out_whenever_the_server_counts_them() -> None:
    observer = ActivityRateObserver()
    observer.observe(reading(0, own=0, db1=(0, 0)))
    observer.observe(reading(2, own=20, db1=(0, 0)))
    # A burst of ours, and eight of others.
    found = observer.observe(reading(4, own=40, db1=(48, 0)))
    assert found.transactions_per_second == 2.0
