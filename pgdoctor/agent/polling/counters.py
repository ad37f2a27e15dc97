"""What the agent counts about one server, and about its own work there, from its start on."""

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from itertools import accumulate
from typing import NamedTuple

from pgdoctor.diagnosis.cause import class_names
from pgdoctor.incidents.incident import IncidentEvent
from pgdoctor.mitigation.history import Action
from pgdoctor.postgres.connection import StatementCost

#: Upper bounds in seconds; a quiet poll takes a few milliseconds, a convoy of a thousand some seconds.
BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

#: Of incidents: from a hiccup to a forgotten night.
INCIDENT_BOUNDS = (1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0, 14400.0)


class Example(NamedTuple):
    """The latest that fell into a bucket: the incident, its seconds, and when it was counted, in Unix time."""

    incident: str
    seconds: float
    at: float


class Durations:
    """A histogram of seconds."""

    def __init__(self, bounds: tuple[float, ...] = BOUNDS) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._examples: list[Example | None] = [None] * (len(bounds) + 1)
        #: The upper bound of each bucket as text; the last one holds all that was counted.
        self.bounds = (*map(str, bounds), "+Inf")
        self.total = 0.0

    def add(self, seconds: float, example: Example | None = None) -> None:
        """Count one more."""
        place = bisect_left(self._bounds, seconds)
        self._counts[place] += 1
        self._examples[place] = example
        self.total += seconds

    def sum_buckets(self) -> tuple[float, ...]:
        """For each bucket how many were not above its bound."""
        return tuple(map(float, accumulate(self._counts)))

    @property
    def examples(self) -> tuple[Example | None, ...]:
        """For each bucket the latest that fell into it and has a name; empty without any."""
        return tuple(self._examples) if any(self._examples) else ()


class Counters:
    """Counters, written by the loop, read by the metrics."""

    def __init__(self) -> None:
        self.durations = Durations()
        self.skipped = 0
        self.failed_full_polls = 0
        #: Seconds from one full poll to the next, while there is something to look at.
        self.poll_interval = 0.0
        self.statements = 0
        self.received_bytes = 0
        self.blocked_seconds = 0.0
        #: Classes overlap: a session behind blockers of two classes counts for both.
        self.blocked_seconds_by_class = dict.fromkeys(class_names(), 0.0)
        self.deadlocks = 0
        self.incidents = dict.fromkeys(class_names(), 0)
        self.incident_durations = Durations(INCIDENT_BOUNDS)
        self.releases = Durations()
        #: By its ID, the moment at which an incident came back that had ended before.
        self._came_back: dict[str, datetime] = {}

    def add_cost(self, before: StatementCost, now: StatementCost) -> None:
        """Count what one connection has cost since."""
        self.statements += now.statements - before.statements
        self.received_bytes += now.received_bytes - before.received_bytes

    def add_blocked(self, sessions: int, by_class: Mapping[str, int], seconds: float) -> None:
        """Count what sessions have waited for so many seconds, in all and by the class of their blockers."""
        self.blocked_seconds += sessions * seconds
        for name, number in by_class.items():
            self.blocked_seconds_by_class[name] += number * seconds

    def add_releases(self, settled: Iterable[Action]) -> None:
        """Count how long the signals took that released a session."""
        for action in settled:
            if action.outcome == "released" and action.seconds is not None:
                self.releases.add(action.seconds)

    def add_event(self, event: IncidentEvent, now: float) -> None:
        """Count an incident under each class that leads it, once; and how long it was. `now`: Unix time.

        Of one that has come back, the time before is counted already.
        """
        incident = event.incident
        if event.kind == "recurred":
            self._came_back = {incident.id: event.at}
        elif event.kind == "ended":
            since = self._came_back.pop(incident.id, incident.started)
            seconds = max((event.at - since) / timedelta(seconds=1), 0.0)
            self.incident_durations.add(seconds, Example(incident.id, seconds, now))
        elif event.kind in ("started", "class_changed"):
            self.incidents[incident.classes[-1]] += 1
