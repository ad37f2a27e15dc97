"""The connection of the polls: kept from poll to poll, opened again after it is lost, never a second one beside it.

Not `psycopg_pool`, which was tried: with a maximum of two it opens the second as soon as a reconnect makes a poll
wait (so exactly when slots are gone), keeps it for ten minutes, and hands it out, dead, after the next outage,
which costs one more deadline; with a maximum of one nothing but its back-off is left, and a caller learns of a
refused connection only by waiting for its own timeout (measured: server stopped, killed, without slots).
"""

import asyncio
import logging
import random
import time
from pathlib import Path

import msgspec

from pgdoctor.errors import ServerError, Unreachable, UsageError
from pgdoctor.postgres.connection import Connection
from pgdoctor.postgres.dsn import parse_dsn
from pgdoctor.postgres.login_attempt import LoginAttempt
from pgdoctor.secret_file import find_writers

log = logging.getLogger(__name__)

#: Bounds in seconds of the pause after the first failed attempt, and after many; none is longer than the deadline, so
#: that a server that is back is seen as soon as one that has gone.
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 4.0


class DsnFile(msgspec.Struct, frozen=True):
    """A file that holds a connection string, and nothing else; it may have a password in it."""

    path: str

    def read(self) -> str:
        """The connection string as it is now. Raises UsageError, which says nothing of it."""
        try:
            if why := find_writers(Path(self.path).stat()):
                raise UsageError(f"the DSN file {self.path} is not used: {why} {self.path}")
            text = Path(self.path).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise UsageError(f"the DSN file {self.path} cannot be read: {error.strerror or error}") from None
        except ValueError:
            raise UsageError(f"the DSN file {self.path} is not UTF-8 text") from None
        if not text:
            raise UsageError(f"the DSN file {self.path} is empty: write a connection string into it")
        try:
            parse_dsn(text)
        except UsageError:
            raise UsageError(
                f"the content of the DSN file {self.path} is not a valid connection string (not shown)"
            ) from None
        return text


class Reconnector:
    """Opens a connection when there is none. Attempts are spaced at random, ever wider, up to a few seconds.

    A connection string in a file is read at every attempt: a password that was changed in it is taken up.
    """

    def __init__(self, dsn: str | DsnFile, deadline: float) -> None:
        self._dsn = dsn
        self._deadline = deadline
        self._connection: Connection | None = None
        self._failures = 0
        self._failure: ServerError | None = None
        self._next_attempt = 0.0
        self._outdated = False
        self._attempt: LoginAttempt | None = None

    async def connect(self) -> Connection:
        """The open connection. Raises the ServerError of the last attempt, at once while the next one is not due."""
        if self._connection is not None and self._connection.is_open and not self._outdated:
            return self._connection
        if self._outdated:
            self.drop()
        self._drop_connection()
        if self._failure is not None and (self._hangs or time.monotonic() < self._next_attempt):
            raise self._failure.with_traceback(None)
        try:
            self._connection = await self._enter_connection()
        except ServerError as error:
            self._next_attempt = time.monotonic() + seconds_until_retry(
                self._failures, min(LONGEST_PAUSE, self._deadline)
            )
            self._failures += 1
            self._failure = error
            raise
        self._failures, self._failure = 0, None
        if self._connection.is_pooled:
            log.warning("connected through a pooler, so no session is signalled: connect to the server itself")
        return self._connection

    @property
    def _hangs(self) -> bool:
        """A login is running and has not ended within the deadline. Another one would take one more slot."""
        return self._attempt is not None and not self._attempt.is_over

    @property
    def _was_silent(self) -> bool:
        """The attempt before had no answer: this one may have begun before the line was good, and be lost on it."""
        return self._failure is not None and self._failure.state == "timeout"

    async def _enter_connection(self) -> Connection:
        if self._attempt is None:
            self._attempt = LoginAttempt(await self.read_dsn(), self._deadline)
        try:
            connection = await self._attempt.await_connection()
        except ServerError as error:
            if error.state != "login_hangs" or self._attempt.is_over or self._was_silent:
                self._give_up()
            raise
        self._attempt = None
        return await Connection.enter(connection, self._deadline)

    def use_dsn(self, dsn: str | DsnFile) -> bool:
        """Where to connect to; the next poll goes there, at once. False where it does already."""
        if dsn == self._dsn:
            return False
        self._dsn, self._failure = dsn, None
        self._outdated = True
        return True

    async def read_dsn(self) -> str:
        """The connection string; raises ServerError.

        In a thread: secrets may be mounted over a network.
        """
        if isinstance(self._dsn, str):
            return self._dsn
        try:
            async with asyncio.timeout(self._deadline):
                return await asyncio.to_thread(self._dsn.read)
        except TimeoutError:
            raise Unreachable(f"the DSN file could not be read within {self._deadline:g} s", "timeout") from None
        except UsageError as error:
            raise Unreachable(str(error), "error") from None

    def use_deadline(self, deadline: float) -> None:
        """What connecting and each statement may take: part of the session's settings, so the next poll reconnects."""
        if deadline != self._deadline:
            self._deadline = deadline
            self._outdated = True

    def drop(self) -> None:
        """Let go of the connection, at once and whatever the server does. Not while it is in use."""
        self._outdated = False
        self._give_up()
        self._drop_connection()

    def _give_up(self) -> None:
        if self._attempt is not None:
            self._attempt.abandon()
            self._attempt = None

    def _drop_connection(self) -> None:
        if self._connection is not None:
            self._connection.abandon()
            self._connection = None


def seconds_until_retry(failures: int, longest: float) -> float:
    """Seconds until the next attempt, after so many failed ones before the last."""
    return random.uniform(0.0, min(longest, FIRST_PAUSE * 2.0 ** min(failures, 10)))
