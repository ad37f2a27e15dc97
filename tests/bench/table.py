"""The table of costs: rows with goals, measured in rounds until a change of a fifth between two runs would show."""

import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

import msgspec
from tabulate import tabulate

#: A change between two runs that is to show.
SHOWN = 0.2

#: The relative standard error up to which it shows: the difference of two runs is twice its own error.
_PRECISE = SHOWN / (2 * 2**0.5)

#: Rounds of a stage at least, and what the precision of its rows is worth at most.
_LEAST_ROUNDS = 3
_MOST_ROUNDS = 12

#: The error of a median is that much bigger than that of a mean.
_OF_MEDIAN = 1.25


class Row(NamedTuple):
    """A line of the table. `goal` is a bound of its value, from above unless `at_least`; None: the row has none."""

    key: str
    text: str
    unit: str
    goal: float | None = None
    at_least: bool = False


#: Measures once: values by the keys of rows. A row without a value is not measured in that round.
Round = Callable[[], Mapping[str, float]]


class Stage(NamedTuple):
    """What some rows need to be there while they are measured, opened once for all rounds."""

    rows: tuple[Row, ...]
    open: Callable[[], AbstractContextManager[Round]]
    most_rounds: int = _MOST_ROUNDS


class Reading(msgspec.Struct, frozen=True):
    """A row as it was measured: the part of the bench, and the value of each round."""

    part: str
    key: str
    text: str
    unit: str
    goal: float | None
    at_least: bool
    values: tuple[float, ...]

    @property
    def value(self) -> float | None:
        """The median of all rounds."""
        return statistics.median(self.values) if self.values else None

    @property
    def error(self) -> float:
        """The relative standard error of the value; infinite where it is not known."""
        return relative_error(self.values)

    @property
    def verdict(self) -> str:
        """`met`, `missed`, `not measured`, or nothing where there is no goal."""
        if self.value is None:
            return "not measured"
        if self.goal is None:
            return ""
        return "met" if (self.value >= self.goal if self.at_least else self.value <= self.goal) else "missed"


class Run(msgspec.Struct, frozen=True):
    """All that a run has measured. `at`: Unix time."""

    at: float
    readings: tuple[Reading, ...]


def relative_error(values: Sequence[float]) -> float:
    """The standard error of the median of some values, as a part of it; infinite of fewer than two values."""
    if len(values) < 2:
        return float("inf")
    error = _OF_MEDIAN * statistics.stdev(values) / len(values) ** 0.5
    middle = abs(statistics.median(values))
    return error / middle if middle else 0.0 if not error else float("inf")


def measure_stage(part: str, stage: Stage) -> list[Reading]:
    """Measure rounds until a change of a fifth would show in each row, or the rounds of the stage are spent."""
    values: dict[str, list[float]] = {row.key: [] for row in stage.rows}
    with stage.open() as measure:
        for number in range(1, stage.most_rounds + 1):
            for key, value in measure().items():
                values[key].append(value)
            print(f"{part}: round {number}", file=sys.stderr, flush=True)
            if number >= _LEAST_ROUNDS and all(_is_precise(each) for each in values.values()):
                break
    return [Reading(part, *row, tuple(values[row.key])) for row in stage.rows]


def _is_precise(values: Sequence[float]) -> bool:
    return not values or relative_error(values) <= _PRECISE


def measure(parts: Mapping[str, Iterable[Stage]], show: Callable[[str], None] = print) -> Run:
    """Measure all stages of the parts, and show the rows of each as soon as they are known."""
    readings: list[Reading] = []
    for part, stages in parts.items():
        for stage in stages:
            measured = measure_stage(part, stage)
            show(format_readings(measured) + "\n")
            readings += measured
    return Run(time.time(), tuple(readings))


def format_readings(readings: Iterable[Reading]) -> str:
    """The table, one line a row."""
    headers = ("part", "row", "value", "unit", "goal", "", "± %", "rounds")
    lines = [
        [
            each.part,
            each.text,
            _format_number(each.value),
            each.unit,
            _format_goal(each),
            each.verdict,
            _format_error(each.error),
            len(each.values),
        ]
        for each in readings
    ]
    return tabulate(lines, headers, disable_numparse=True)


def format_comparison(earlier: Run, later: Run) -> str:
    """Both runs side by side, of the rows that both have."""
    headers = ("part", "row", "before", "after", "unit", "after : before", "± %", "")
    lines = [
        [
            new.part,
            new.text,
            _format_number(old.value),
            _format_number(new.value),
            new.unit,
            _format_number(_ratio(old, new)),
            _format_error(_joint_error(old, new)),
            compare_readings(old, new),
        ]
        for old, new in _pair_readings(earlier, later)
    ]
    return tabulate(lines, headers, disable_numparse=True)


def compare_readings(old: Reading, new: Reading) -> str:
    """`worse`, `better`, `same`, `unsure` where the noise is as big as the change, or `not measured`."""
    ratio, error = _ratio(old, new), _joint_error(old, new)
    if ratio is None:
        return "same" if old.value == new.value is not None else "not measured"
    change = ratio - 1
    if abs(change) < SHOWN:
        return "same" if 2 * error <= SHOWN else "unsure"
    if abs(change) < 2 * error:
        return "unsure"
    return "better" if (change > 0) == new.at_least else "worse"


def has_missed(run: Run) -> bool:
    """Whether a row with a goal does not meet it, or was not measured."""
    return any(each.goal is not None and each.verdict != "met" for each in run.readings)


def has_regressed(earlier: Run, later: Run) -> bool:
    """Whether a row is worse than before by a fifth or more."""
    return any(compare_readings(old, new) == "worse" for old, new in _pair_readings(earlier, later))


def save_run(run: Run, path: Path) -> None:
    """Write a run for a later comparison."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(run)))


def load_run(path: Path) -> Run:
    """The run in a file. Raises OSError, and msgspec.MsgspecError where it is none."""
    return msgspec.json.decode(path.read_bytes(), type=Run)


def _pair_readings(earlier: Run, later: Run) -> list[tuple[Reading, Reading]]:
    before = {(each.part, each.key): each for each in earlier.readings}
    return [(before[place], each) for each in later.readings if (place := (each.part, each.key)) in before]


def _ratio(old: Reading, new: Reading) -> float | None:
    return new.value / old.value if old.value and new.value is not None else None


def _joint_error(old: Reading, new: Reading) -> float:
    return float((old.error**2 + new.error**2) ** 0.5)


def _format_goal(reading: Reading) -> str:
    return "" if reading.goal is None else f"{'≥' if reading.at_least else '≤'} {_format_number(reading.goal)}"


def _format_number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def _format_error(error: float) -> str:
    return "" if error == float("inf") else f"{error * 100:.0f}"
