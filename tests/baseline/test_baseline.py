"""What is usual: learnt by time of day, and never from what is unusual."""

import itertools
import math
import random
import struct
from collections.abc import Callable, Iterable, Iterator
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pgdoctor.baseline.baseline import UNUSUAL, Baseline
from pgdoctor.baseline.ring import Ring
from pgdoctor.model.anomaly_signals import HIGHEST, Floor

#: A midnight.
MIDNIGHT = 1_767_484_800.0
MINUTE, QUARTER, HOUR, DAY = 60.0, 900.0, 3_600.0, 86_400.0
FLOOR = Floor(1.0)

Values = Callable[[float], float]


def moments(begin: float, end: float, step: float) -> Iterator[float]:
    """In Unix time, of seconds since MIDNIGHT."""
    return itertools.takewhile(lambda at: at < MIDNIGHT + end, itertools.count(MIDNIGHT + begin, step))


def fed(
    baseline: Baseline, values: Values, begin: float, end: float, step: float = QUARTER, *, learning: bool = True
) -> Baseline:
    """After the values of a time, in seconds since MIDNIGHT."""
    for at in moments(begin, end, step):
        baseline = baseline.observe(values(at - MIDNIGHT), at, FLOOR, learning=learning)
    return baseline


def constant(value: float) -> Values:
    return lambda _: value


def noisy(value: float) -> Values:
    """A value and its neighbours, in turn."""
    return lambda at: value + (-2.0, 1.0, 0.0, 2.0, -1.0)[int(at / QUARTER) % 5]


def office(at: float) -> float:
    """20 connections at night, 80 from eight to six."""
    return 80.0 if 8 * HOUR <= at % DAY < 18 * HOUR else 20.0


def test_it_is_the_modified_z_score():
    known = [9.0, 14.0, 12.0, 13.0, 10.0, 12.0, 12.0, 11.0, 14.0, 13.0, 13.0, 12.0, 12.0, 14.0, 13.0]
    baseline = Baseline()
    for day, value in enumerate([*known, 0.0]):
        baseline = baseline.observe(value, MIDNIGHT + day * DAY, Floor(1e-9))
    middle = median(known)
    mad = median(abs(value - middle) for value in known)
    assert baseline.score(middle + 7) == pytest.approx(0.6745 * 7 / mad)
    assert baseline.score(middle - 7) == 0.0


def test_before_there_are_fifteen_minutes_nothing_is_known():
    young = fed(Baseline(), constant(3.0), 0, 14 * MINUTE, 1.0)
    assert young.usual is None
    assert young.score(1e6) == 0.0
    assert fed(young, constant(3.0), 14 * MINUTE, 16 * MINUTE, 1.0).score(1e6) == HIGHEST


def test_a_hiccup_on_a_server_where_no_session_is_ever_blocked_is_none():
    quiet = fed(Baseline(), constant(0.0), 0, HOUR, MINUTE)
    assert quiet.score(3.0) < UNUSUAL <= quiet.score(4.0)


def test_an_incident_of_an_hour_is_not_learnt_without_a_mark():
    before = fed(Baseline(), noisy(40.0), 0, 6 * HOUR, MINUTE)
    inside = before
    for at in moments(6 * HOUR, 7 * HOUR, MINUTE):
        inside = inside.observe(90.0, at, FLOOR)
        assert inside.score(90.0) >= UNUSUAL
    assert (inside.usual, inside.days.last) != (None, None)
    assert fed(inside, noisy(40.0), 7 * HOUR, 8 * HOUR, MINUTE).usual == before.usual


def test_a_level_that_stays_for_six_hours_is_the_usual_one():
    deployed = fed(Baseline(), noisy(40.0), 0, 4 * DAY)
    assert deployed.usual is not None
    assert deployed.usual.at_this_hour
    later = fed(deployed, noisy(90.0), 4 * DAY, 4 * DAY + 5 * HOUR)
    assert later.score(90.0) >= UNUSUAL
    settled = fed(later, noisy(90.0), 4 * DAY + 5 * HOUR, 4 * DAY + 6.5 * HOUR)
    assert settled.score(92.0) < UNUSUAL <= settled.score(140.0)
    # The days before it are no measure any more.
    assert fed(settled, noisy(90.0), 4 * DAY + 6.5 * HOUR, 6 * DAY).score(92.0) < UNUSUAL


def test_a_level_does_not_become_usual_while_an_incident_is_on_for_however_long():
    known = fed(Baseline(), noisy(40.0), 0, DAY)
    hurt = fed(known, constant(90.0), DAY, 4 * DAY, learning=False)
    assert hurt.score(90.0) == known.score(90.0) >= UNUSUAL
    assert (hurt.recent, hurt.days) == (known.recent, known.days)


def test_a_level_that_an_incident_breaks_up_is_not_taken_for_a_new_one():
    level = fed(Baseline(), noisy(40.0), 0, DAY, MINUTE)
    for hour in range(12):
        begin = DAY + hour * HOUR
        level = fed(level, constant(90.0), begin, begin + 20 * MINUTE, MINUTE, learning=hour % 3 == 0)
    assert level.score(90.0) >= UNUSUAL


def test_usual_rate_of_noon_is_unusual_at_night():
    known = fed(Baseline(), office, 0, 5 * DAY)
    night = fed(known, office, 5 * DAY, 5 * DAY + 3 * HOUR)
    assert night.score(20.0) == 0.0
    assert night.score(80.0) >= UNUSUAL
    noon = fed(night, office, 5 * DAY + 3 * HOUR, 5 * DAY + 12 * HOUR)
    assert noon.score(80.0) < UNUSUAL <= noon.score(200.0)


def test_the_morning_is_not_unusual_once_three_days_are_known():
    known = fed(Baseline(), office, 0, 4 * DAY)
    for at in moments(4 * DAY, 6 * DAY, QUARTER):
        known = known.observe(office(at - MIDNIGHT), at, FLOOR)
        assert known.score(office(at - MIDNIGHT)) < UNUSUAL


def test_a_first_morning_that_is_taken_for_a_new_level_costs_no_day():
    known = fed(Baseline(), office, 0, 15 * HOUR)
    assert known.score(80.0) < UNUSUAL
    night = fed(known, office, 15 * HOUR, 3 * DAY + 3 * HOUR)
    assert night.usual is not None
    assert night.usual.at_this_hour


def test_a_batch_at_the_same_hour_is_usual_from_the_fourth_night_on():
    def batch(at: float) -> float:
        return 50.0 if 2 * HOUR <= at % DAY < 3 * HOUR else 5.0

    known = fed(Baseline(), constant(5.0), 0, 10 * DAY)
    scores = []
    for night in range(10, 15):
        known = fed(known, batch, night * DAY, night * DAY + 2.5 * HOUR)
        scores.append(known.score(50.0))
        known = fed(known, batch, night * DAY + 2.5 * HOUR, (night + 1) * DAY)
    assert [score >= UNUSUAL for score in scores] == [True, True, True, False, False]


@pytest.mark.long
def test_a_short_batch_stays_usual_once_it_is():
    """Of half an hour; from then on none of it is held, and there are more and more days."""

    def batch(at: float) -> float:
        return 50.0 if 2 * HOUR <= at % DAY < 2.5 * HOUR else 5.0

    known, unusual = Baseline(), set()
    for at in moments(0, 20 * DAY, MINUTE):
        if known.score(batch(at - MIDNIGHT)) >= UNUSUAL:
            unusual.add((at - MIDNIGHT) // DAY)
        known = known.observe(batch(at - MIDNIGHT), at, FLOOR)
    assert unusual == {0, 1, 2}


def test_single_peaks_are_never_what_is_usual():
    """Some fall on the same hour of three days by chance; an incident as high would not be seen then."""
    dice = random.Random(2)
    known = Baseline()
    masked = set()
    for at in moments(0, 28 * DAY, 5 * MINUTE):
        known = known.observe(20.0 if dice.random() < 0.02 else 0.0, at, FLOOR)
        if known.score(20.0) < UNUSUAL and at > MIDNIGHT + 4 * DAY:
            masked.add((at - MIDNIGHT) // HOUR)
    assert masked == set()


def test_a_slow_growth_is_never_unusual():
    def growing(at: float) -> float:
        return noisy(40.0)(at) * 1.01 ** (at / DAY)

    known = Baseline()
    for at in moments(0, 40 * DAY, HOUR):
        value = growing(at - MIDNIGHT)
        assert known.score(value) < UNUSUAL
        known = known.observe(value, at, FLOOR)


def test_a_leak_that_creeps_through_a_day_is_unusual_by_the_days_before():
    known = fed(Baseline(), noisy(40.0), 0, 5 * DAY)
    found = None
    for at in moments(5 * DAY, 6 * DAY, 10 * MINUTE):
        value = 40.0 + (at - MIDNIGHT - 5 * DAY) / (10 * MINUTE)
        if known.score(value) >= UNUSUAL:
            found = value
            break
        known = known.observe(value, at, FLOOR)
    assert found is not None
    assert found < 60


def test_after_a_gap_of_a_week_the_hours_are_still_known_and_the_last_day_is_not():
    known = fed(Baseline(), office, 0, 5 * DAY)
    after = known.observe(20.0, MIDNIGHT + 12 * DAY + 3 * HOUR, FLOOR)
    assert sum(1 for _ in after.recent.iterate_samples(MIDNIGHT + 12 * DAY + 3 * HOUR, range(after.recent.size))) == 1
    assert after.score(80.0) >= UNUSUAL
    assert fed(after, office, 60 * DAY, 60 * DAY + MINUTE).score(1e6) == 0.0


@pytest.mark.parametrize("back", [HOUR, DAY, 40 * DAY])
def test_a_clock_that_is_set_back_does_no_harm(back):
    known = fed(Baseline(), noisy(40.0), 0, 5 * DAY)
    again = fed(known, noisy(40.0), 5 * DAY - back, 5 * DAY - back + 5 * HOUR)
    assert again.score(42.0) < UNUSUAL <= again.score(90.0)


def test_a_clock_that_was_far_ahead_for_a_moment_costs_what_was_known_and_no_more():
    known = fed(Baseline(), noisy(40.0), 0, 5 * DAY).observe(40.0, MIDNIGHT + 9_000 * DAY, FLOOR)
    again = fed(known, noisy(40.0), 5 * DAY, 5 * DAY + 5 * HOUR)
    assert again.score(42.0) < UNUSUAL <= again.score(90.0)


@pytest.mark.parametrize("missing", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_none_is_not_learnt_and_not_unusual(missing):
    known = fed(Baseline(), noisy(40.0), 0, DAY)
    after = known.observe(missing, MIDNIGHT + DAY + MINUTE, FLOOR)
    assert after.recent == known.recent
    assert after.score(missing) == 0.0


def test_jobs_at_the_full_minute_are_not_in_every_sample():
    known = fed(Baseline(), lambda at: 50.0 if at % MINUTE < 6 else 0.0, 0, DAY / 6, 1.0)
    values = [sample.value for sample in known.recent.iterate_samples(MIDNIGHT + DAY / 6 - 1, range(240))]
    assert 0.05 < sum(value > 0 for value in values) / len(values) < 0.15


def test_a_ring_has_one_sample_a_period_and_holes_without_polls():
    ring = Ring(60.0, 5)
    for number in (0, 1, 3):
        ring = ring.add_sample(float(number), number * 60.0 + 1, held=number == 1)
    assert [tuple(each) for each in ring.iterate_samples(200.0, range(5))] == [(3.0, False), (1.0, True), (0.0, False)]
    ring = ring.add_sample(6.0, 361.0, held=False)
    assert [each.value for each in ring.iterate_samples(361.0, range(5))] == [6.0, 3.0]
    assert list(ring.iterate_samples(3_600.0, range(5))) == []
    assert ring.keep_ages(361.0, range(1)) == Ring(60.0, 5).add_sample(6.0, 361.0, held=False)


def test_samples_of_an_earlier_pgdoctor_are_narrowed():
    ring = Ring(60.0, 5).add_sample(6.5, 0.0, held=False).add_sample(7.5, 121.0, held=True)
    wide = replace(ring, values=struct.pack("5d", *memoryview(ring.values).cast("f")))
    assert not wide.is_sound
    assert wide.narrowed() == ring.narrowed() == ring


VALUES = st.floats(0, 1e12) | st.floats()
STEPS = st.floats(0, 3 * DAY) | st.floats(-60 * DAY, 60 * DAY)
POLLS = st.lists(st.tuples(VALUES, STEPS, st.booleans()), max_size=60)


def after_all(polls: Iterable[tuple[float, float, bool]], scale: float = 1.0) -> Iterator[Baseline]:
    baseline, at = Baseline(), MIDNIGHT
    for value, step, learning in polls:
        at += step
        baseline = baseline.observe(value * scale, at, Floor(scale), learning=learning)
        yield baseline


@given(POLLS, VALUES)
def test_a_score_is_finite_and_memory_is_bounded(polls, value):
    for baseline in after_all(polls):
        assert 0.0 <= baseline.score(value) <= HIGHEST
        assert baseline.is_sound
        held = (baseline.recent.values, baseline.recent.held, baseline.days.values, baseline.days.held)
        assert sum(map(len, held)) <= 40_000


@given(POLLS, VALUES)
def test_nothing_is_learnt_where_nothing_is_to_be(polls, value):
    baseline, at = Baseline(), MIDNIGHT
    for known, step, learning in polls:
        at += step
        before = baseline
        baseline = baseline.observe(known, at, FLOOR, learning=learning)
        if not learning:
            assert (baseline.recent, baseline.days) == (before.recent, before.days)


@given(st.floats(0, 1e9), st.floats(0, 1e9), st.integers(15, 60), st.floats(1.0, 3_000.0))
def test_a_constant_is_never_unusual(value, above, polls, step):
    baseline = Baseline()
    for number in range(polls):
        baseline = baseline.observe(value, MIDNIGHT + number * step, Floor(1.0, 0.1))
        assert baseline.score(value) == 0.0
    assert baseline.score(value + above) <= above * (1 + 1e-6) + 1e-6


@given(
    st.lists(st.integers(0, 1000), min_size=15, max_size=60),
    st.integers(0, 5000),
    st.sampled_from([0.001, 0.25, 3.0, 4096.0]),
)
def test_the_unit_of_a_signal_makes_no_difference(values, value, scale):
    polls = [(float(each), 2 * MINUTE, True) for each in values]
    *_, plain = after_all(polls)
    *_, scaled = after_all(polls, scale)
    assert scaled.score(value * scale) == pytest.approx(plain.score(float(value)), rel=1e-6, abs=1e-6)
