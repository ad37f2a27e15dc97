"""The course of an incident as an inline picture: blocked sessions, connections, and marks where signals were sent."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

import msgspec

from pgdoctor.formatting import format_count, format_duration
from pgdoctor.incidents.incident_course import CoursePoint
from pgdoctor.render.incident_view import IncidentView, format_moment
from pgdoctor.render.plan import action_text
from pgdoctor.render.web.markup import sentence_markup, text_markup

#: Units of the picture: its width, the heights of both parts, the room above, between and below them.
_WIDTH = 720
_BLOCKED = 120
_CONNECTED = 60
_ROOM = 18

#: Marks that are drawn, and units that two have to be apart for both of their numbers to be read.
_MOST_MARKS = 20


class ChartMark(msgspec.Struct, frozen=True):
    """Something that was done, so many seconds after the beginning."""

    seconds: float
    at: datetime
    what: str


def chart_markup(story: IncidentView) -> Iterator[str]:
    """The picture, and below it the marks in words; nothing where less than two points are known."""
    points = list_points(story)
    if len(points) < 2:
        return
    marks = list_marks(story)[:_MOST_MARKS]
    yield from _draw_chart(points, marks, story)
    if marks:
        yield '<ol class="plain">'
        yield from (
            f'<li><time datetime="{each.at.isoformat(timespec="seconds")}">{format_moment(each.at, day=False)}</time> '
            f"{sentence_markup(each.what)}</li>"
            for each in marks
        )
        yield "</ol>"


def list_points(story: IncidentView) -> list[CoursePoint]:
    """What is known of the course, in the order of time: of each poll, or of events and snapshots."""
    last = story.last
    if len(last.course) >= 2:
        return list(last.course)
    found = {
        _measure_seconds(story, at): CoursePoint(_measure_seconds(story, at), blocked, seen)
        for at, blocked, seen in story.sizes
    }
    for entry in story.entries:
        seconds = _measure_seconds(story, entry.at)
        found.setdefault(seconds, CoursePoint(seconds, entry.blocked, 0))
    return [found[seconds] for seconds in sorted(found)]


def list_marks(story: IncidentView) -> list[ChartMark]:
    """The actions of mitigation and the signals of people, in the order of time."""
    marks = [ChartMark(_measure_seconds(story, each.at), each.at, action_text(each)) for each in story.actions]
    marks += [
        ChartMark(
            _measure_seconds(story, each.at),
            each.at,
            f"{each.signal} {each.pid} by {each.by}: {each.outcome.replace('_', ' ')}",
        )
        for each in story.signals
    ]
    return sorted(marks, key=lambda each: each.seconds)


def _measure_seconds(story: IncidentView, at: datetime) -> float:
    return max((at - story.last.started) / timedelta(seconds=1), 0.0)


def _draw_chart(points: Sequence[CoursePoint], marks: Sequence[ChartMark], story: IncidentView) -> Iterator[str]:
    length = max(points[-1].seconds, *(each.seconds for each in marks), 0.1)
    most_blocked = max(max(each.blocked for each in points), 1)
    most_connected = max(each.connections for each in points)
    height = 2 * _ROOM + _BLOCKED + ((_ROOM + _CONNECTED) if most_connected else 0)
    bottom = height - _ROOM
    said = (
        f"Blocked sessions over {format_duration(length)}: at most {most_blocked}; "
        f"{format_count(len(marks), 'signal')} marked"
    )
    yield f'<svg class="chart" viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{text_markup(said)}">'
    yield from _draw_area("blocked", [(each.seconds, each.blocked) for each in points], length, most_blocked, _ROOM)
    yield f'<text x="2" y="12">blocked sessions, at most {most_blocked:,}</text>'
    if most_connected:
        top = 2 * _ROOM + _BLOCKED
        values = [(each.seconds, each.connections) for each in points]
        yield from _draw_area("connected", values, length, most_connected, top, _CONNECTED)
        yield f'<text x="2" y="{top - 5}">connections, at most {most_connected:,}</text>'
    for number, each in enumerate(marks, 1):
        x = _compute_x(each.seconds, length)
        yield f'<line class="mark" x1="{x}" x2="{x}" y1="{_ROOM}" y2="{bottom}"/>'
        yield f'<text class="mark" x="{x + 3:.1f}" y="{_ROOM + 11 + 12 * ((number - 1) % 8)}">{number}</text>'
    yield f'<text x="2" y="{height - 4}">{format_moment(story.last.started)} UTC</text>'
    yield f'<text x="{_WIDTH - 2}" y="{height - 4}" text-anchor="end">+{format_duration(length)}</text></svg>'


def _draw_area(
    kind: str, values: Sequence[tuple[float, int]], length: float, most: int, top: int, height: int = _BLOCKED
) -> Iterator[str]:
    """Steps from the lower edge: a value holds until the next one."""
    base = top + height
    path = [f"M0 {base}"]
    for seconds, value in values:
        path.append(f"H{_compute_x(seconds, length)}V{base - value / most * height:.1f}")
    path.append(f"H{_compute_x(values[-1][0], length)}V{base}Z")
    yield f'<path class="{kind}" d="{"".join(path)}"/>'
    yield f'<line class="axis" x1="0" x2="{_WIDTH}" y1="{base}" y2="{base}"/>'


def _compute_x(seconds: float, length: float) -> float:
    return round(min(seconds / length, 1.0) * (_WIDTH - 2) + 1, 1)
