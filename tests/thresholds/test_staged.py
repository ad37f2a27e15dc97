"""On the recording of staged incidents, thresholds that learn find more than a rule file does, and cry wolf no more.

`python -m tests.bench thresholds` says how much.
"""

import pytest

from pgdoctor.baseline.thresholds import ALARMING
from pgdoctor.model.anomaly_signals import SIGNALS
from tests.bench.thresholds import RULES
from tests.thresholds.evaluation import Series, Window, above, any_of, judge, learnt, staged
from tests.thresholds.recorder import DAYS, schedule


@pytest.mark.long
def test_learnt_thresholds_find_more_than_a_rule_file():
    series = staged()
    found = judge(series, any_of([score >= ALARMING for score in scores] for scores in learnt(series).values()))
    ruled = judge(series, any_of(above(series.values[name], RULES[name]) for name in SIGNALS))
    assert found.windows == ruled.windows == len(list(schedule()))
    assert found.recall >= 0.85 > ruled.recall
    assert found.false_a_day <= 1.0
    assert series.days == pytest.approx(DAYS, abs=0.1)


def test_an_alarm_counts_once_an_hour_and_just_after_an_incident_it_is_no_mistake():
    times = [minute * 300.0 for minute in range(48)]
    series = Series(times, {}, [Window(3_600.0, 5_400.0), Window(10_800.0, 11_400.0)])
    always = judge(series, [True] * 48)
    assert always == (2, 2, 2, 4, series.days)
    assert judge(series, [at == 6_300.0 for at in times]) == (0, 2, 1, 1, series.days)
    assert judge(series, [at == 6_600.0 for at in times]) == (0, 2, 0, 1, series.days)
    assert judge(series, [False] * 48).precision == 0.0
