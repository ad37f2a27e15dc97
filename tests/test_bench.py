"""The table of costs: verdicts, rounds and comparisons, on figures that are given."""

import itertools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.bench.table import (
    Reading,
    Round,
    Row,
    Run,
    Stage,
    compare_readings,
    format_comparison,
    format_readings,
    has_missed,
    has_regressed,
    load_run,
    measure,
    measure_stage,
    save_run,
)

AT_MOST = Row("poll", "a poll", "ms", goal=10.0)
AT_LEAST = Row("factor", "documented query against the poll", "x", goal=100.0, at_least=True)


def read(row: Row, *values: float) -> Reading:
    return Reading("peak", *row, values)


def staged(row: Row, values: Iterator[float], most_rounds: int = 12) -> Stage:
    @contextmanager
    def open_stage() -> Iterator[Round]:
        def measure_once() -> Mapping[str, float]:
            return {row.key: next(values)}

        yield measure_once

    return Stage((row,), open_stage, most_rounds)


@pytest.mark.parametrize(
    ("row", "values", "verdict"),
    [
        (AT_MOST, (9.0, 10.0, 11.0), "met"),
        (AT_MOST, (10.1,), "missed"),
        (AT_LEAST, (100.0,), "met"),
        (AT_LEAST, (99.0,), "missed"),
        (AT_LEAST, (), "not measured"),
        (Row("size", "size", "MB"), (5.0,), ""),
    ],
)
def test_verdict_compares_the_median_with_the_goal(row: Row, values: tuple[float, ...], verdict: str) -> None:
    assert read(row, *values).verdict == verdict


def test_rounds_end_as_soon_as_a_fifth_would_show() -> None:
    [reading] = measure_stage("peak", staged(AT_MOST, itertools.repeat(5.0)))
    assert reading.values == (5.0, 5.0, 5.0)


def test_rounds_go_on_while_the_noise_hides_a_fifth() -> None:
    [reading] = measure_stage("peak", staged(AT_MOST, itertools.cycle([5.0, 8.0])))
    assert 3 < len(reading.values) <= 12


def test_rounds_are_bounded() -> None:
    [reading] = measure_stage("peak", staged(AT_MOST, itertools.cycle([1.0, 100.0]), most_rounds=6))
    assert len(reading.values) == 6


@pytest.mark.parametrize(
    ("row", "old", "new", "found"),
    [
        (AT_MOST, (10, 10, 10), (13, 13, 13), "worse"),
        (AT_MOST, (10, 10, 10), (7, 7, 7), "better"),
        (AT_LEAST, (10, 10, 10), (7, 7, 7), "worse"),
        (AT_MOST, (10, 10, 10), (11, 11, 11), "same"),
        (AT_MOST, (5, 10, 15), (7, 13, 19), "unsure"),
        (AT_MOST, (0, 0, 0), (0, 0, 0), "same"),
        (AT_MOST, (10,), (), "not measured"),
    ],
)
def test_comparison_tells_a_change_from_noise(
    row: Row, old: tuple[float, ...], new: tuple[float, ...], found: str
) -> None:
    assert compare_readings(read(row, *old), read(row, *new)) == found


def test_missed_goal_and_unmeasured_row_both_fail_the_run() -> None:
    assert not has_missed(Run(0.0, (read(AT_MOST, 5.0),)))
    assert has_missed(Run(0.0, (read(AT_MOST, 15.0),)))
    assert has_missed(Run(0.0, (read(AT_MOST),)))


def test_run_is_read_back_and_compared(tmp_path: Path) -> None:
    shown: list[str] = []
    run = measure({"peak": (staged(AT_MOST, itertools.repeat(5.0)),)}, shown.append)
    save_run(run, tmp_path / "deep" / "run.json")
    earlier = load_run(tmp_path / "deep" / "run.json")
    assert earlier == run
    assert not has_regressed(earlier, run)
    assert has_regressed(Run(0.0, (read(AT_MOST, 2, 2, 2),)), run)
    assert "a poll" in format_comparison(earlier, run)
    assert "≤ 10" in format_readings(run.readings)
    assert "met" in shown[0]
