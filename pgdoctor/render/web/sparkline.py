"""Sparklines: how a number has changed within the last hour, as an inline picture with its highest value in words."""

from collections.abc import Iterator, Sequence

import msgspec

from pgdoctor.formatting import format_duration

#: Units of the picture's height; one of its width is one value.
_HEIGHT = 20


class RecentSeries(msgspec.Struct, frozen=True):
    """Values of the last hour, the oldest first; None where no poll succeeded."""

    blocked: tuple[int | None, ...] = ()
    connections: tuple[int | None, ...] = ()
    #: Seconds of one value.
    seconds: float = 30.0


def sparkline_markup(kind: str, values: Sequence[int | None], highest: int) -> str:
    """The picture. `kind`: the class of its colour; `highest`: the value at its upper edge."""
    return (
        f'<svg class="spark {kind}" viewBox="0 0 {max(len(values), 1)} {_HEIGHT}" preserveAspectRatio="none" '
        f'aria-hidden="true"><path d="{"".join(_draw_areas(values, max(highest, 1)))}"/></svg>'
    )


def last_hour_markup(recent: RecentSeries, slots: tuple[int, int] | None) -> str:
    """Both pictures, side by side. `slots`: connections and max_connections; None: not known."""
    if all(value is None for value in recent.blocked):
        return ""
    most = slots[1] if slots else 0
    return f'<div class="hour"><div>{blocked_markup(recent)}</div><div>{connections_markup(recent, most)}</div></div>'


def blocked_markup(recent: RecentSeries) -> str:
    """Picture and words of the blocked sessions."""
    highest = _find_highest(recent.blocked)
    said = _describe_values(recent.blocked, recent.seconds, "") if highest else "none in the last hour"
    return f"{sparkline_markup('blocked', recent.blocked, highest)}<p>Blocked sessions: {said}</p>"


def connections_markup(recent: RecentSeries, max_connections: int) -> str:
    """Picture and words of the connections; the upper edge of the picture is max_connections."""
    of = f" of {max_connections:,}" if max_connections else ""
    highest = max(max_connections, _find_highest(recent.connections))
    said = _describe_values(recent.connections, recent.seconds, of)
    return f"{sparkline_markup('connected', recent.connections, highest)}<p>Connections: {said}</p>"


def _find_highest(values: Sequence[int | None]) -> int:
    return max((value for value in values if value is not None), default=0)


def _describe_values(values: Sequence[int | None], seconds: float, of: str) -> str:
    """`at most 80 of 100, 14 min ago`."""
    highest = _find_highest(values)
    ago = (len(values) - 1 - max(place for place, value in enumerate(values) if value == highest)) * seconds
    return f"at most {highest:,}{of}, {format_duration(ago) if ago else f'less than {format_duration(seconds)}'} ago"


def _draw_areas(values: Sequence[int | None], highest: int) -> Iterator[str]:
    """Steps from the lower edge, one path for each stretch of values; equal neighbours are one step."""
    before: int | None = None
    for place, value in enumerate(values):
        if value is None:
            if before is not None:
                yield f"H{place}V{_HEIGHT}Z"
        elif before is None:
            yield f"M{place} {_HEIGHT}V{_format_level(value, highest)}"
        elif value != before:
            yield f"H{place}V{_format_level(value, highest)}"
        before = value
    if before is not None:
        yield f"H{len(values)}V{_HEIGHT}Z"


def _format_level(value: int, highest: int) -> str:
    """Where a value stands; every value above 0 is visible."""
    height = 0.0 if value == 0 else max(value / highest * _HEIGHT, 1.0)
    return f"{_HEIGHT - height:.1f}".removesuffix(".0")
