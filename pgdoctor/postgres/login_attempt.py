"""One attempt to connect, with a deadline on our side."""

import asyncio
import time
from typing import Any

import psycopg

from pgdoctor.errors import Unreachable
from pgdoctor.postgres.connection_errors import (
    build_hanging_error,
    build_unresolved_error,
    connection_error,
    silent_server_error,
)
from pgdoctor.postgres.conninfo import ConnectionTarget, resolve_target
from pgdoctor.postgres.dsn import host_count, parse_dsn
from pgdoctor.postgres.login_refusal import fetch_login_refusal
from pgdoctor.postgres.session_settings import start_up_options
from pgdoctor.postgres.tls_request import answers_tls_request

#: What libpq, and the driver, make of any shorter one.
SHORTEST_CONNECT_TIMEOUT = 2

#: Seconds for a process of the server to answer a request for TLS; the share of the deadline after which that is sent.
_ANSWER_SECONDS = 0.5

_ASKED_AFTER = 0.8

#: Seconds that no login takes.
_NEVER = 86_400

#: What poolers say to start-up options: PgBouncer, and RDS Proxy.
_REFUSES_OPTIONS = ("unsupported startup parameter", "command-line options")


class LoginAttempt:
    """One attempt to connect. It goes on beyond its deadline until it is abandoned.

    A process of the server that waits for a lock does not notice that its client has gone: where a login hangs, a new
    attempt would take one more slot.

    Of several hosts each has its share of the deadline, and two seconds at least: one that hangs is not the end of it.
    """

    def __init__(self, dsn: str, deadline: float) -> None:
        parameters = parse_dsn(dsn)
        self._patience = deadline
        if (hosts := host_count(parameters)) > 1:
            share = max(int(deadline / hosts), SHORTEST_CONNECT_TIMEOUT)
            parameters["connect_timeout"] = share
            self._patience = max(deadline, share * hosts)
        elif (given := str(parameters.get("connect_timeout", "0"))).isdigit():
            # Ours from here on: the driver would break it off.
            self._patience = min(deadline, max(int(given), SHORTEST_CONNECT_TIMEOUT)) if int(given) else deadline
            parameters["connect_timeout"] = _NEVER
        self._target, options = resolve_target(parameters)
        self._parameters = parameters | {"options": start_up_options(options, deadline)}
        self._connecting = asyncio.ensure_future(_connect_psycopg(parameters, self._parameters))

    @property
    def is_over(self) -> bool:
        """It has succeeded or failed."""
        return self._connecting.done()

    async def await_connection(self) -> psycopg.AsyncConnection[Any]:
        """The connection, within the deadline. Raises Unreachable; with the state `login_hangs` it may come later."""
        end = time.monotonic() + self._patience
        await asyncio.wait({self._connecting}, timeout=self._patience * _ASKED_AFTER)
        if not self._connecting.done() and await _is_answering(self._target):
            raise build_hanging_error(self._patience * _ASKED_AFTER, self._target)
        await asyncio.wait({self._connecting}, timeout=max(end - time.monotonic(), 0.0))
        if not self._connecting.done():
            raise silent_server_error(self._patience, self._target)
        try:
            return self._connecting.result()
        except psycopg.errors.ConnectionTimeout:
            error = build_hanging_error if await _is_answering(self._target) else silent_server_error
            raise error(self._patience, self._target) from None
        except psycopg.Error as error:
            raise await self._explain_failure(error, end) from None
        except (OSError, UnicodeError):
            raise build_unresolved_error(self._target) from None

    async def _explain_failure(self, error: psycopg.Error, end: float) -> Unreachable:
        explained = connection_error(error, self._target)
        if explained.state != "error":
            return explained
        patience = max(end - time.monotonic(), _ANSWER_SECONDS)
        refusal = await fetch_login_refusal(str(error), self._parameters, patience)
        return connection_error(error, self._target, refusal=refusal)

    def abandon(self) -> None:
        """Break it off; a connection that has come and was not asked for is closed."""
        self._connecting.cancel()
        if self._connecting.done() and not self._connecting.cancelled() and self._connecting.exception() is None:
            self._connecting.result().pgconn.finish()


async def _connect_psycopg(parameters: dict[str, Any], pinned: dict[str, Any]) -> psycopg.AsyncConnection[Any]:
    """Connect with our start-up options after those that are given; without ours where a pooler refuses some."""
    try:
        return await psycopg.AsyncConnection.connect(**pinned, autocommit=True)
    except psycopg.OperationalError as error:
        if not any(words in str(error).lower() for words in _REFUSES_OPTIONS):
            raise
    return await psycopg.AsyncConnection.connect(**parameters, autocommit=True)


async def _is_answering(target: ConnectionTarget) -> bool:
    """A process of the server answers: the login hangs, and not the machine."""
    return bool(target.places) and await answers_tls_request(target.places[0], _ANSWER_SECONDS)
