"""One entry of a log, whatever its format."""

import re
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache

import msgspec

#: Characters of a statement or a context that are kept, and of a detail, which may name thousands of processes.
MOST_TEXT = 4_096
MOST_DETAIL = 65_536

#: Abbreviations in front of or behind a time, in hours; as PostgreSQL reads them (timezonesets/Default).
_ZONES = {
    **{"UTC": 0.0, "GMT": 0.0, "Z": 0.0, "WET": 0.0, "WEST": 1.0, "BST": 1.0, "CET": 1.0, "CEST": 2.0, "EET": 2.0},
    **{"EEST": 3.0, "MSK": 3.0, "SAST": 2.0, "JST": 9.0, "KST": 9.0, "HKT": 8.0, "AEST": 10.0, "AEDT": 11.0},
    **{"NZST": 12.0, "NZDT": 13.0, "EST": -5.0, "EDT": -4.0, "CST": -6.0, "CDT": -5.0, "MST": -7.0, "MDT": -6.0},
    **{"PST": -8.0, "PDT": -7.0, "AKST": -9.0, "AKDT": -8.0, "HST": -10.0},
}
_MILLISECONDS = {f".{number:03}": timedelta(milliseconds=number) for number in range(1_000)}
_OFFSET = re.compile(r"([+-])(\d{1,2}):?(\d{2})?")


class Entry(msgspec.Struct, frozen=True, gc=False):
    """An entry; None and empty where its format does not have a field, or its prefix leaves it out."""

    at: datetime
    pid: int | None
    message: str
    detail: str = ""
    context: str = ""
    statement: str | None = None
    user: str | None = None
    database: str | None = None
    application: str | None = None
    client: str | None = None
    backend_type: str | None = None


@lru_cache(maxsize=4)
def read_zone(name: str) -> timezone | None:
    """The offset of a time zone as the log writes it; None for an abbreviation that is not known."""
    if name in _ZONES:
        return timezone(timedelta(hours=_ZONES[name]))
    if (found := _OFFSET.fullmatch(name)) is None:
        return None
    offset = timedelta(hours=int(found[2]), minutes=int(found[3] or 0))
    return timezone(-offset if found[1] == "-" else offset) if offset < timedelta(days=1) else None


def read_time(text: str) -> datetime | None:
    """A time as the log has it, `2026-11-30 03:17:39.505 UTC`, in UTC; None where it is none.

    An unknown abbreviation is taken for UTC.
    """
    fraction = _MILLISECONDS.get(text[19:23])
    zone = text[24:] if fraction is not None and text[23:24] == " " else text[19:].lstrip(".0123456789").strip()
    second = _read_second(text[:19], zone)
    return second if second is None or fraction is None else second + fraction


@lru_cache(maxsize=8)
def _read_second(text: str, zone: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text).replace(tzinfo=read_zone(zone) or UTC).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def read_epoch(text: str) -> datetime | None:
    """A time as `%n` writes it: `1764472659.505`."""
    try:
        return datetime.fromtimestamp(float(text), UTC)
    except (ValueError, OverflowError, OSError):
        return None


def read_name(value: str | None) -> str | None:
    """A name of the prefix; None for one that the server did not know."""
    return value if value and value != "[unknown]" else None
