"""How well rules find the incidents of a series: which of them they flag, and how often they cry wolf.

An incident is caught if a rule flags a moment in it. An hour of the clock with a flag in it is an alarm: a person is
paged again an hour later. It is a true one if one of its flags is in an incident, or no later than `GRACE`.
"""

import csv
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from pgdoctor.baseline.baseline import Baseline
from pgdoctor.baseline.thresholds import Thresholds
from pgdoctor.incidents.incident import IncidentPoll, advance_incident
from pgdoctor.model.anomaly_signals import SIGNALS, Floor

#: The recording of `tests.thresholds.recorder`.
STAGED = Path(__file__).with_name("staged.csv")

#: Each second of the recording stands for so many: its days are of 288 seconds.
STEP = 300.0

#: A Sunday midnight; any would do.
START = 1_767_484_800.0

_HOUR = 3_600.0
GRACE = 900.0

#: Thresholds that are tried.
_STEPS = 300

#: Which signals an incident of a kind is meant to move.
MOVES = {
    "queue": ("blocked_sessions", "oldest_wait", "lock_wait_share"),
    "row": ("blocked_sessions", "oldest_wait", "lock_wait_share"),
    "flood": ("connections",),
    "pileup": ("active_sessions",),
    "forgotten": ("oldest_transaction",),
}


class Window(NamedTuple):
    """An incident, from its first moment to its last, in Unix time."""

    begin: float
    end: float
    kind: str = ""


class Series(NamedTuple):
    """Values by signal, and the incidents."""

    times: list[float]
    values: dict[str, list[float]]
    windows: list[Window]

    @property
    def days(self) -> float:
        return (self.times[-1] - self.times[0]) / 86_400


class Score(NamedTuple):
    """What a rule achieved; scores of several series add up."""

    caught: int = 0
    windows: int = 0
    true_alarms: int = 0
    alarms: int = 0
    days: float = 0.0

    def __add__(self, other: "Score") -> "Score":  # type: ignore[override]
        return Score(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))

    @property
    def recall(self) -> float:
        return self.caught / self.windows if self.windows else 0.0

    @property
    def precision(self) -> float:
        return self.true_alarms / self.alarms if self.alarms else 0.0

    @property
    def f1(self) -> float:
        both = self.precision + self.recall
        return 2 * self.precision * self.recall / both if both else 0.0

    @property
    def false_a_day(self) -> float:
        return (self.alarms - self.true_alarms) / self.days if self.days else 0.0


def staged(file: Path = STAGED) -> Series:
    """The recording, its calendar stretched."""
    times, windows = [], []
    values: dict[str, list[float]] = {name: [] for name in SIGNALS}
    label = ""
    with file.open(encoding="utf-8", newline="") as rows:
        for row in csv.DictReader(rows):
            at = START + int(row["second"]) * STEP
            times.append(at)
            for name in SIGNALS:
                values[name].append(float(row[name]))
            if row["incident"] and row["incident"] == label:
                windows[-1] = windows[-1]._replace(end=at)
            elif row["incident"]:
                windows.append(Window(at, at, row["incident"]))
            label = row["incident"]
    return Series(times, values, windows)


def judge(series: Series, flags: Sequence[bool], wanted: Sequence[Window] | None = None) -> Score:
    """What a rule achieved that flagged those moments.

    `wanted` are the incidents that it is to catch, where it is not all of them; to flag another one is no mistake.
    """
    flagged = [at for at, flag in zip(series.times, flags, strict=True) if flag]
    wanted = series.windows if wanted is None else wanted
    good = {at // _HOUR for at in flagged if any(each.begin <= at <= each.end + GRACE for each in series.windows)}
    return Score(
        caught=sum(bisect_right(flagged, each.end) > bisect_left(flagged, each.begin) for each in wanted),
        windows=len(wanted),
        true_alarms=len(good),
        alarms=len({at // _HOUR for at in flagged}),
        days=series.days,
    )


def above(values: Iterable[float], threshold: float) -> list[bool]:
    """A fixed threshold."""
    return [value > threshold for value in values]


def any_of(rules: Iterable[Sequence[bool]]) -> list[bool]:
    """Where one of them at least is True."""
    return [any(flags) for flags in zip(*rules, strict=True)]


def best(series: Series, name: str, wanted: Sequence[Window] | None = None) -> float:
    """The fixed threshold with the best F1, known only in hindsight."""
    seen = sorted(set(series.values[name]))
    steps = seen[:: max(len(seen) // _STEPS, 1)]
    return max(steps, key=lambda threshold: judge(series, above(series.values[name], threshold), wanted).f1)


def learnt(series: Series) -> dict[str, list[float]]:
    """The scores of all signals as the agent would have had them."""
    thresholds, incident = Thresholds(), None
    scores: dict[str, list[float]] = {name: [] for name in SIGNALS}
    for place, at in enumerate(series.times):
        values = {name: series.values[name][place] for name in SIGNALS}
        incident, _ = advance_incident(incident, IncidentPoll(_moment(at), int(values["blocked_sessions"])))
        thresholds = thresholds.observe(values, at, incident=incident is not None)
        for name, score in thresholds.scores.items():
            scores[name].append(score)
    return scores


def learnt_alone(times: Sequence[float], values: Sequence[float], floor: Floor) -> list[float]:
    """The scores of one signal that is none of ours."""
    baseline, scores = Baseline(), []
    for at, value in zip(times, values, strict=True):
        scores.append(baseline.score(value))
        baseline = baseline.observe(value, at, floor)
    return scores


def _moment(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)
