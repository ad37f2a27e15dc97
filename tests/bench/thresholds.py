"""Thresholds that learn beside fixed ones: how many incidents each finds, and how often it cries wolf.

On the recording of `tests.thresholds.recorder`; and, where PGDOCTOR_NAB names a checkout of the Numenta Anomaly
Benchmark (github.com/numenta/NAB), on its series of known cause and of database load. None of it takes a server.
"""

import csv
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from pgdoctor.baseline.thresholds import ALARMING
from pgdoctor.model.anomaly_signals import SIGNALS, Floor
from tests.bench.measuring import show
from tests.thresholds.evaluation import (
    MOVES,
    Score,
    Series,
    Window,
    above,
    any_of,
    best,
    judge,
    learnt,
    learnt_alone,
    staged,
)

#: As rule files have them: blocked sessions, connections (of 100) and the share of waiters are what the built-in rules
#: of pgEdge's alerter and others' say. Theirs for times are 60 and 600 s; no incident of the recording lasts as long,
#: so they are a twelfth and a twenty-fourth of that.
RULES = {
    "blocked_sessions": 5.0,
    "oldest_wait": 5.0,
    "active_sessions": 20.0,
    "connections": 80.0,
    "oldest_transaction": 25.0,
    "lock_wait_share": 0.5,
}

#: Days until the hours are known.
_KNOWN_AFTER = 3

#: Of a NAB series, what rules may look at before they are judged (its "probationary period").
_PROBATION = 0.15

#: No unit is known there: a twentieth of the median counts for something.
_NAB_FLOOR = Floor(1e-6, 0.05)

_HEADERS = ("", "incidents caught", "of", "recall", "alarm hours", "precision", "false a day")


def main() -> None:
    series = staged()
    flags = {"learnt": _learnt(series), "rule file": _fixed(series, RULES)}
    flags["best in hindsight"] = _fixed(series, {name: best(series, name, _own(series, name)) for name in SIGNALS})
    for title, since in (("from the first day on", 0.0), ("once the hours are known", _KNOWN_AFTER)):
        part = _since(series, since)
        rows = [
            _row(f"{kind}, all", judge(part, any_of(_cut(series, part, each.values())))) for kind, each in flags.items()
        ]
        for name in SIGNALS:
            for kind, each in flags.items():
                [cut] = _cut(series, part, [each[name]])
                rows.append(_row(f"{kind}, {name}", judge(part, cut, _own(part, name))))
        show(f"Staged incidents, {part.days:.0f} days of five minutes a second, {title}", rows, _HEADERS)
    _nab()


def _learnt(series: Series) -> dict[str, list[bool]]:
    return {name: [score >= ALARMING for score in scores] for name, scores in learnt(series).items()}


def _fixed(series: Series, thresholds: Mapping[str, float]) -> dict[str, list[bool]]:
    return {name: above(series.values[name], threshold) for name, threshold in thresholds.items()}


def _own(series: Series, name: str) -> list[Window]:
    return [each for each in series.windows if name in MOVES[each.kind.partition("-")[0]]]


def _since(series: Series, days: float) -> Series:
    begin = series.times[0] + days * 86_400
    place = next(place for place, at in enumerate(series.times) if at >= begin)
    return Series(
        series.times[place:],
        {name: values[place:] for name, values in series.values.items()},
        [each for each in series.windows if each.begin >= begin],
    )


def _cut(whole: Series, part: Series, flags: Iterable[Sequence[bool]]) -> Iterator[Sequence[bool]]:
    return (each[len(whole.times) - len(part.times) :] for each in flags)


def _row(name: str, score: Score) -> list[object]:
    return [name, score.caught, score.windows, score.recall, score.alarms, score.precision, score.false_a_day]


def _nab() -> None:
    folder = os.environ.get("PGDOCTOR_NAB")
    if not folder:
        print("SKIPPED: the public series; PGDOCTOR_NAB has to name a checkout of the Numenta Anomaly Benchmark\n")
        return
    labels = json.loads((Path(folder) / "labels" / "combined_windows.json").read_text(encoding="utf-8"))
    totals: dict[str, Score] = {}
    rows = []
    for name in sorted(each for each in labels if each.startswith("realKnownCause/") or "/rds_" in each):
        for kind, score in _judged(_nab_series(Path(folder) / "data" / name, labels[name])).items():
            totals[kind] = totals.get(kind, Score()) + score
            rows.append(_row(f"{Path(name).stem}, {kind}", score))
    rows = [_row(f"all, {kind}", score) for kind, score in totals.items()] + rows
    show("Numenta Anomaly Benchmark: series of known cause, and of RDS", rows, _HEADERS)


def _judged(series: Series) -> dict[str, Score]:
    """What each kind of rule achieves after the probation. A fixed one before it: a fifth above what was highest."""
    values = series.values[""]
    place = round(len(values) * _PROBATION)
    part = _since(series, (series.times[place] - series.times[0]) / 86_400)
    mirrored = [max(values) - value for value in values]
    upwards = learnt_alone(series.times, values, _NAB_FLOOR)
    downwards = learnt_alone(series.times, mirrored, _NAB_FLOOR)
    rules = {
        "learnt": [score >= ALARMING for score in upwards],
        "learnt, both ways": [max(pair) >= ALARMING for pair in zip(upwards, downwards, strict=True)],
        "fixed beforehand": above(values, 1.2 * max(values[:place])),
        "best in hindsight": above(values, best(part, "")),
    }
    return {kind: judge(part, flags[-len(part.times) :]) for kind, flags in rules.items()}


def _nab_series(file: Path, windows: Sequence[tuple[str, str]]) -> Series:
    with file.open(encoding="utf-8", newline="") as rows:
        read = [(_unix(row["timestamp"]), float(row["value"])) for row in csv.DictReader(rows)]
    times, values = zip(*read, strict=True)
    return Series(list(times), {"": list(values)}, [Window(_unix(begin), _unix(end)) for begin, end in windows])


def _unix(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()
