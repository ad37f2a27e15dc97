"""The course of an incident: how many sessions were blocked and connected, in a bounded number of points; refusals."""

from collections.abc import Iterable
from datetime import datetime

import msgspec
from msgspec.structs import replace

#: Points of one incident. When there are more, neighbours become one.
MOST_POINTS = 120

#: Refused signals of one incident that are kept.
_MOST_REFUSED = 20


class CoursePoint(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The most blocked sessions, and the connections of that poll, from so many seconds after the beginning on."""

    seconds: float
    blocked: int
    connections: int


class RefusedSignal(msgspec.Struct, frozen=True):
    """A signal that a rule asked for and guards refused. Times are the server's."""

    at: datetime
    signal: str
    pid: int | None
    rule: str
    #: Of each guard that objected: its name and why.
    reasons: tuple[str, ...]


class IncidentCourse:
    """What is kept of the polls of one incident; it goes on from what an earlier agent has kept."""

    def __init__(self, points: Iterable[CoursePoint] = (), refused: Iterable[RefusedSignal] = ()) -> None:
        self._points = list(points)
        self._spacing = self._points[-1].seconds / len(self._points) if self._points else 0.0
        self._refused = {(each.pid, each.signal, each.rule): each for each in refused}

    @property
    def points(self) -> tuple[CoursePoint, ...]:
        """In the order of time."""
        return tuple(self._points)

    @property
    def refused(self) -> tuple[RefusedSignal, ...]:
        """Each session with a rule once: when it was refused first, and the latest reasons."""
        return tuple(self._refused.values())

    def add_poll(self, seconds: float, blocked: int, connections: int) -> None:
        """Take in a poll, that many seconds after the beginning; a clock that was set back adds no point."""
        point = CoursePoint(round(seconds, 1), blocked, connections)
        if self._points and seconds - self._points[-1].seconds < self._spacing:
            self._points[-1] = _merge_points(self._points[-1], point)
            return
        if not self._points or point.seconds >= self._points[-1].seconds:
            self._points.append(point)
        if len(self._points) > MOST_POINTS:
            pairs = zip(self._points[::2], [*self._points[1::2], self._points[-1]], strict=False)
            self._points = [_merge_points(*pair) for pair in pairs]
            self._spacing = self._points[-1].seconds / len(self._points)

    def add_refused(self, refused: Iterable[RefusedSignal]) -> None:
        """Take in what guards refuse at a poll."""
        for each in refused:
            key = (each.pid, each.signal, each.rule)
            before = self._refused.get(key)
            if before is not None:
                self._refused[key] = replace(each, at=before.at)
            elif len(self._refused) < _MOST_REFUSED:
                self._refused[key] = each


def _merge_points(first: CoursePoint, second: CoursePoint) -> CoursePoint:
    """One point in place of two: the larger one at the time of the first."""
    return replace(max(first, second, key=lambda each: (each.blocked, each.connections)), seconds=first.seconds)
