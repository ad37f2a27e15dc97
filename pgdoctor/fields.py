"""What is written as text in the configuration and means more than text: durations, networks, patterns, hours."""

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Annotated, ClassVar, NamedTuple, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from pgdoctor.statement_pattern import StatementPattern

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_DURATION = re.compile(r"(?P<number>[0-9]{1,9}(?:\.[0-9]{1,6})?)(?P<unit>ms|s|m|h|d)")
_LONGEST = 366 * 24 * 3600.0


class Duration(float):
    """Seconds; written with a unit, for Postgres reads a bare number as milliseconds and most tools as seconds."""

    allowed: ClassVar = 'a duration with a unit, at most a year: "500ms", "15s", "2m", "6h" or "30d"'

    @classmethod
    def parse(cls, text: object) -> Self:
        """`"500ms"`, `"15s"`, `"2m"`, `"6h"`, `"30d"`. Raises ValueError for everything else, bare numbers too."""
        match = _DURATION.fullmatch(text) if isinstance(text, str) else None
        if match is None or (seconds := float(match["number"]) * _UNITS[match["unit"]]) > _LONGEST:
            raise ValueError(cls.allowed)
        return cls(seconds)

    def __str__(self) -> str:
        """The shortest way to write it."""
        for unit in ("h", "m", "s"):
            if self >= _UNITS[unit] and self % _UNITS[unit] == 0:
                return f"{self / _UNITS[unit]:.0f}{unit}"
        return f"{self * 1000:.0f}ms" if self % 1 else f"{float(self):.0f}s"


_SIZE_UNITS = {"kB": 1024, "MB": 1024**2, "GB": 1024**3}
_SIZE = re.compile(r"(?P<number>[0-9]{1,9})(?P<unit>kB|MB|GB)")
_BIGGEST = 1024 * _SIZE_UNITS["GB"]


class Size(int):
    """Bytes; written with a unit, as in postgresql.conf."""

    allowed: ClassVar = 'a size with a unit, at most 1024GB: "512MB" or "2GB"'

    @classmethod
    def parse(cls, text: object) -> Self:
        """`"512MB"`, `"2GB"`. Raises ValueError for everything else."""
        match = _SIZE.fullmatch(text) if isinstance(text, str) else None
        if match is None or (size := int(match["number"]) * _SIZE_UNITS[match["unit"]]) > _BIGGEST:
            raise ValueError(cls.allowed)
        return cls(size)

    def __str__(self) -> str:
        """The shortest way to write it."""
        unit = next(unit for unit in ("GB", "MB", "kB") if self % _SIZE_UNITS[unit] == 0 or unit == "kB")
        return f"{self // _SIZE_UNITS[unit]}{unit}"


class Network(str):
    """Where clients come from: a network or address, or `local`, which is a socket of the server's own host."""

    __slots__ = ()
    allowed: ClassVar = 'a network such as "10.0.0.0/8" or "fd00::/8", an address, or "local" for the local socket'

    @classmethod
    def parse(cls, text: object) -> Self:
        """Raises ValueError for what is no network, one with bits beyond its mask too, and for what no client is in."""
        if not isinstance(text, str):
            raise ValueError(cls.allowed)
        if text != "local":
            try:
                network = ip_network(text)
            except ValueError:
                raise ValueError(cls.allowed) from None
            # The server shows IPv4 clients as such, and no address with its zone.
            if "%" in text or (isinstance(network, IPv6Network) and network.network_address.ipv4_mapped is not None):
                raise ValueError(cls.allowed)
        return cls(text)

    def includes_client(self, client: str | None) -> bool:
        """Whether a client comes from here; None is the local socket. Raises ValueError for what is no address."""
        if client is None or self == "local":
            return client is None and self == "local"
        return _parse_address(client) in ip_network(self)

    def includes_network(self, other: "Network") -> bool:
        """Whether all of the other is part of it."""
        if "local" in (self, other):
            return self == other
        mine, theirs = ip_network(self), ip_network(other)
        if isinstance(mine, IPv4Network):
            return isinstance(theirs, IPv4Network) and theirs.subnet_of(mine)
        return isinstance(theirs, IPv6Network) and theirs.subnet_of(mine)


_NAME = r'"(?:[^"]|"")+"|[^\W\d][\w$]*'
_QUALIFIED = re.compile(rf"({_NAME})\.({_NAME})")
_PLAIN = re.compile(r"[a-z_][a-z0-9_$]*")


class Qualified(str):
    """A relation with its schema, as in SQL; written in one way only, with no more quotes than it needs."""

    __slots__ = ()
    allowed: ClassVar = (
        'a relation with its schema, such as "public.orders"; capitals and blanks in double quotes: \'public."Orders"\''
    )

    @classmethod
    def parse(cls, text: object) -> Self:
        """Raises ValueError for a bare name, and for one that SQL would take for another: `public.Orders`."""
        match = _QUALIFIED.fullmatch(text) if isinstance(text, str) else None
        if match is None or any(name[0] != '"' and name != name.lower() for name in match.groups()):
            raise ValueError(cls.allowed)
        return cls(".".join(map(_as_needed, match.groups())))

    @property
    def parts(self) -> tuple[str, str]:
        """The schema and the name, each without quotes. Raises ValueError for what `parse` does not take."""
        match = _QUALIFIED.fullmatch(self)
        if match is None:
            raise ValueError(self.allowed)
        schema, name = map(_bare_name, match.groups())
        return schema, name


def _as_needed(name: str) -> str:
    """A name without the quotes that it can do without; unlike the server, which also quotes SQL's own words."""
    bare = _bare_name(name)
    return bare if _PLAIN.fullmatch(bare) else '"' + bare.replace('"', '""') + '"'


def _bare_name(name: str) -> str:
    return name[1:-1].replace('""', '"') if name[0] == '"' else name


_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY = "|".join(_DAYS)
_WINDOW = re.compile(
    rf"(?:(?P<first>{_DAY})(?:-(?P<last>{_DAY}))? )?"
    r"(?P<begin>[0-2][0-9]:[0-5][0-9])-(?P<end>[0-2][0-9]:[0-5][0-9])(?: (?P<zone>[A-Za-z][A-Za-z0-9_+/-]*))?"
)
_WHOLE_DAY = 24 * 60


class Window(str):
    """Hours of the day, on some days of the week, somewhere in the world; without a place in UTC."""

    __slots__ = ()
    allowed: ClassVar = 'hours such as "08:00-18:00", "mon-fri 08:00-18:00 Europe/Berlin" or "sat 22:00-04:00 UTC"'

    @classmethod
    def parse(cls, text: object) -> Self:
        """Raises ValueError for what is no such thing, or in a place that this machine does not know."""
        match = _WINDOW.fullmatch(text) if isinstance(text, str) else None
        if match is None or max(map(_parse_minutes, match.group("begin", "end"))) > _WHOLE_DAY:
            raise ValueError(cls.allowed)
        if match["begin"] == match["end"]:
            raise ValueError(cls.allowed)
        try:
            ZoneInfo(match["zone"] or "UTC")
        except (ZoneInfoNotFoundError, OSError):
            raise ValueError(cls.allowed) from None
        return cls(text)

    def includes_moment(self, moment: datetime) -> bool:
        """Whether a moment lies in these hours. Hours that go past midnight belong to the day they begin on."""
        match = _WINDOW.fullmatch(self)
        assert match is not None
        begin, end = _parse_minutes(match["begin"]), _parse_minutes(match["end"])
        local = moment.astimezone(ZoneInfo(match["zone"] or "UTC"))
        minute, today = local.hour * 60 + local.minute, local.weekday()
        yesterday = (local - timedelta(days=1)).weekday()
        if begin < end:
            return begin <= minute < end and self._has_moment(match, today)
        return (minute >= begin and self._has_moment(match, today)) or (
            minute < end and self._has_moment(match, yesterday)
        )

    @staticmethod
    def _has_moment(match: re.Match[str], day: int) -> bool:
        if match["first"] is None:
            return True
        first, last = _DAYS.index(match["first"]), _DAYS.index(match["last"] or match["first"])
        return first <= day <= last if first <= last else day >= first or day <= last


def _parse_minutes(text: str) -> int:
    hours, minutes = text.split(":")
    return int(hours) * 60 + int(minutes)


#: How a value of each type is read.
PARSE: dict[type, Callable[[object], object]] = {
    Duration: Duration.parse,
    Network: Network.parse,
    StatementPattern: StatementPattern.parse,
    Qualified: Qualified.parse,
    Size: Size.parse,
    Window: Window.parse,
}


def _parse_address(text: str) -> IPv4Address | IPv6Address:
    found = ip_address(text)
    return found.ipv4_mapped or found if isinstance(found, IPv6Address) else found


class ValidationError(NamedTuple):
    """What is wrong with one key; `value` None: that the key is missing."""

    key: str
    value: object
    allowed: str


#: It becomes the value of a metric's label.
Name = Annotated[
    str, msgspec.Meta(pattern=r"^[a-z0-9_-]{1,64}\Z", description="up to 64 characters of a-z, 0-9, _ and -")
]


#: In place of a value that must not be shown.
HIDDEN = object()
