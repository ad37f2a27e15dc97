"""Why a server refuses a login, in whatever language it says so: libpq logs in once more and traces the messages.

A login that fails has no result, so libpq shows the server's words and hides the SQLSTATE. Its trace has both.
Source: PostgreSQL documentation, "Message Formats", ErrorResponse; "libpq: Control Functions", PQtrace.
"""

import asyncio
import os
import re
import selectors
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import psycopg
from psycopg import pq
from psycopg.conninfo import make_conninfo

#: The fields of an error as the trace writes them: the SQLSTATE before the text, the routine of the server behind it.
_TRACED = re.compile(
    rb'^B\t\d+\tErrorResponse\t.*? C "([0-9A-Z]{5})" .*?(?: R "(\w+)" \\x00)?$', re.MULTILINE | re.DOTALL
)

#: By SQLSTATE, and by the routine where one SQLSTATE has several meanings, the state of the connection.
_STATES = {
    ("28000", ""): "auth_failed",
    ("28P01", ""): "auth_failed",
    ("3D000", ""): "unknown_database",
    ("42501", ""): "not_permitted",
    ("53300", ""): "too_many_connections",
    ("53300", "InitializeSessionUserId"): "too_many_connections_for_role",
    ("53300", "CheckMyDatabase"): "too_many_connections_for_database",
    ("55000", ""): "not_permitted",
    ("55P03", ""): "login_hangs",
    ("57014", ""): "login_hangs",
    ("57P03", ""): "starting_up",
}

#: By what the server has said; no refusal costs a second login twice. Each login leaves a stream of the driver's behind
#: (5 kB), so there is an end.
_remembered: dict[str, "LoginRefusal"] = {}
_MOST_REMEMBERED = 1000


class LoginRefusal(NamedTuple):
    """How the server refuses a login."""

    sqlstate: str
    #: The routine of the server that reports it; empty where it does not say.
    routine: str = ""
    #: A password was accepted before; so the role exists.
    used_password: bool = False

    @property
    def state(self) -> str:
        """The state of the connection; `error` for what is none of the known ones."""
        if self.sqlstate == "28000" and self.routine == "InitializeSessionUserId" and self.used_password:
            # "role … is not permitted to log in": after the password, and with the SQLSTATE of an unknown role.
            return "not_permitted"
        return _STATES.get((self.sqlstate, self.routine)) or _STATES.get((self.sqlstate, ""), "error")


async def fetch_login_refusal(said: str, parameters: Mapping[str, Any], patience: float) -> LoginRefusal | None:
    """How the server refuses a login that it has refused with these words; None: it does not, or that is not known.

    Logs in again, for so many seconds at most, unless the words are known from an earlier time.
    """
    if said not in _remembered and len(_remembered) < _MOST_REMEMBERED:
        refusal = await asyncio.to_thread(_trace_login, make_conninfo("", **parameters), patience)
        if refusal is None:
            return None
        _remembered[said] = refusal
    return _remembered.get(said)


def _trace_login(dsn: str, patience: float) -> LoginRefusal | None:
    # Passwords may be in the trace: it is a file in memory, without a name.
    if not hasattr(os, "memfd_create"):
        return None
    connection = pq.PGconn.connect_start(dsn.encode())
    trace = os.memfd_create("login")
    try:
        connection.trace(trace)
        try:
            connection.set_trace_flags(pq.Trace.SUPPRESS_TIMESTAMPS)
            _poll_until_over(connection, time.monotonic() + patience)
        finally:
            # Writes out what is buffered, which would come at the end of the process otherwise.
            connection.untrace()
        return _read_refusal(os.pread(trace, os.fstat(trace).st_size, 0), connection.used_password)
    except psycopg.Error:
        return None
    finally:
        connection.finish()
        os.close(trace)


def _poll_until_over(connection: pq.abc.PGconn, end: float) -> None:
    wanted: dict[int, int] = {
        pq.PollingStatus.READING: selectors.EVENT_READ,
        pq.PollingStatus.WRITING: selectors.EVENT_WRITE,
    }
    status: int = pq.PollingStatus.WRITING
    while status in wanted and (remaining := end - time.monotonic()) > 0:
        with selectors.DefaultSelector() as selector:
            # Another socket for each address that is tried.
            selector.register(connection.socket, wanted[status])
            ready = selector.select(remaining)
        if ready:
            status = connection.connect_poll()


def _read_refusal(trace: bytes, used_password: bool) -> LoginRefusal | None:
    found = _TRACED.findall(trace)
    if not found:
        return None
    sqlstate, routine = (field.decode() for field in found[-1])
    return LoginRefusal(sqlstate, routine, used_password)
