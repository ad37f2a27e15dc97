"""What libpq makes of a connection string, its service file and its environment; nothing here connects."""

import re
from collections.abc import Iterator, Mapping
from itertools import zip_longest
from typing import Any, NamedTuple

from psycopg import pq
from psycopg.conninfo import make_conninfo

from pgdoctor.formatting import format_address, format_name

#: No such value: libpq finds all parameters, refuses this one, and connects to nothing.
_NOT_TO_CONNECT = {"target_session_attrs": "none-of-them"}

#: How the driver lists the failures of several servers, and how libpq does.
_LISTED = (
    re.compile(
        r"^- host: (?P<host>.*?), port: (?P<port>.*?), hostaddr: (?P<hostaddr>.*?): (?P<said>.*)$", re.MULTILINE
    ),
    re.compile(
        r'^connection to server (?:at "(?P<host>[^"]*)"(?: \((?P<hostaddr>[^)]*)\))?, port (?P<port>\d+)'
        r'|on socket "(?P<socket>[^"]*)") failed: (?P<said>.*)$',
        re.MULTILINE,
    ),
)
_UNSET = ("", "None", None)


class ConnectionTarget(NamedTuple):
    """Where a connection goes, and as whom. Nothing in it is a secret."""

    #: Each server that is tried, in turn: `10.0.0.5:5432`, or the path of a socket. Empty: libpq cannot tell.
    places: tuple[str, ...] = ()
    user: str = ""

    def __str__(self) -> str:
        """`connection to 10.0.0.5:5432 as pgdoctor`."""
        to = f" to {' or '.join(self.places)}" if self.places else ""
        return f"connection{to}{f' as {format_name(self.user)}' if self.user else ''}"


def resolve_target(parameters: Mapping[str, Any]) -> tuple[ConnectionTarget, str]:
    """The target, and the start-up options, of parameters whose gaps libpq fills in as it does when it connects."""
    connection = pq.PGconn.connect_start(make_conninfo("", **{**parameters, **_NOT_TO_CONNECT}).encode())
    try:
        found = {option.keyword.decode(): _decode_text(option.val) for option in connection.info}
        default_host, user = _decode_text(connection.host), _decode_text(connection.user)
    finally:
        connection.finish()
    options = found.get("options", "")
    # Without a user libpq has failed before: its service file, say, has no such service.
    return (ConnectionTarget(tuple(_list_places(found, default_host)), user) if user else ConnectionTarget()), options


def write_dsn(parameters: Mapping[str, Any]) -> str:
    """The connection string of parameters."""
    return make_conninfo("", **parameters)


def parse_failures(said: str) -> dict[str, str]:
    """By server that was tried, why it failed; empty where what is `said` tells of no server."""
    for pattern in _LISTED:
        found = {_format_place(each.groupdict()): each["said"] for each in pattern.finditer(said)}
        if found:
            return found
    return {}


def _list_places(found: Mapping[str, str], default_host: str) -> Iterator[str]:
    hosts = zip_longest(found["host"].split(","), found["hostaddr"].split(","), fillvalue="")
    named = [host or hostaddr or default_host for host, hostaddr in hosts]
    ports = found["port"].split(",")
    ports = ports * len(named) if len(ports) == 1 else ports
    return map(format_address, named, ports)


def _format_place(found: Mapping[str, str | None]) -> str:
    if socket := found.get("socket"):
        return socket
    host, hostaddr, port = (
        (found[key] or "").strip("'\"") if found[key] not in _UNSET else "" for key in ("host", "hostaddr", "port")
    )
    return format_address(host or hostaddr, port)


def _decode_text(value: bytes | None) -> str:
    return (value or b"").decode(errors="surrogateescape")
