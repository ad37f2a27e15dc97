"""A pool of one connection to another database of the server: opened when it is asked for, closed soon after.

The first connection is kept by the `Reconnector`, which says why a pool does not suit it. Here one does: it reads
only evidence that may be missing, and nothing waits for it.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, Self, TypeVar

import msgspec
import psycopg

from pgdoctor.errors import ServerError, Unreachable
from pgdoctor.postgres.connection import Connection
from pgdoctor.postgres.connection_errors import first_line

#: Seconds without use after which a connection is closed, at most twice as many. DROP DATABASE, ALTER DATABASE and
#: CREATE DATABASE ... TEMPLATE wait five seconds for others to leave.
IDLE_SECONDS = 1.0

#: Seconds that a login may take. A process of the server that waits for a lock does not notice that its client has
#: gone, so a login that hangs is not followed by another one.
_NEVER = 86_400

#: Seconds for the pool's own tasks to end.
_CLOSING = 0.2

# It reports each attempt and each use; what matters is said in the evidence.
logging.getLogger("psycopg.pool").setLevel(logging.CRITICAL)

T = TypeVar("T")


class DatabaseAddress(msgspec.Struct, frozen=True):
    """A database of a server: by its OID, under its present name, and when the server was started."""

    oid: int
    name: str
    started: datetime


class _Connection(psycopg.AsyncConnection[Any]):
    """One of the pool, with its wrapper."""

    session: Connection

    @classmethod
    async def connect(cls, conninfo: str = "", *, failed: Callable[[str], None], **kwargs: Any) -> Self:  # type: ignore[override]
        """Connect; `failed` gets the reason why that is not possible."""
        try:
            return await super().connect(conninfo, **kwargs)
        except psycopg.Error as error:
            failed(first_line(error))
            raise
        except (OSError, UnicodeError):
            failed("the host name cannot be resolved")
            raise


class DatabasePool:
    """At most one connection, for one use at a time. Once it has failed it is of no more use."""

    def __init__(self, beside: Connection, address: DatabaseAddress) -> None:
        # Here, not above: hardly any run needs it.
        from psycopg_pool import AsyncConnectionPool

        self.address = address
        self._deadline = beside.deadline
        #: Why no connection can be had; empty: nothing has failed.
        self.failure = ""
        self._failed = asyncio.Event()
        self._pool = AsyncConnectionPool(
            connection_class=_Connection,
            kwargs=_build_parameters(beside, address.name) | {"failed": self._note_failure},
            min_size=0,
            max_size=1,
            open=False,
            configure=self._enter_connection,
            max_idle=IDLE_SECONDS,
            reconnect_timeout=0.0,
            num_workers=1,
        )
        self._closing: asyncio.Task[None] | None = None
        self._used: Connection | None = None

    @property
    def is_connected(self) -> bool:
        """It has a connection, so that the next use opens none."""
        return self._pool.get_stats().get("pool_size", 0) > 0

    async def use_connection(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """The result of work over the connection. Raises ServerError, also where there is none."""
        await self._pool.open()
        connection = await self._take_connection()
        self._used = connection.session
        try:
            return await work(connection.session)
        except ServerError as error:
            if not connection.session.is_open:
                self._note_failure(str(error))
            raise
        finally:
            self._used = None
            # A connection that is lost the pool would replace at once.
            if connection.session.is_open:
                await self._pool.putconn(connection)
            else:
                self._note_failure("the connection was lost")

    def abandon(self) -> None:
        """Close it, whatever the server does, and break off what is done over it."""
        if self._used is not None:
            self._used.abandon()
        if self._closing is None:
            self._closing = asyncio.ensure_future(self._close_connections())

    async def close(self) -> None:
        """The same, and wait until it is done."""
        self.abandon()
        assert self._closing is not None
        await self._closing

    async def _close_connections(self) -> None:
        await self._pool.close(timeout=_CLOSING)

    async def _take_connection(self) -> _Connection:
        asking = asyncio.ensure_future(self._pool.getconn(timeout=_NEVER))
        failing = asyncio.ensure_future(self._failed.wait())
        try:
            await asyncio.wait({asking, failing}, return_when=asyncio.FIRST_COMPLETED)
            if asking.done():
                return asking.result()
        except asyncio.CancelledError:
            if asking.done():
                # No task awaits this connection any more, and the pool has no other.
                self._note_failure("it was broken off")
            raise
        finally:
            failing.cancel()
            if not asking.done():
                asking.cancel()
        raise Unreachable(self.failure, "error")

    async def _enter_connection(self, connection: _Connection) -> None:
        try:
            connection.session = await Connection.enter(connection, self._deadline)
            [found] = await connection.session.fetch("database_identity")
        except ServerError as error:
            self._note_failure(str(error))
            raise
        if (found.database_oid, found.started) != (self.address.oid, self.address.started):
            self._note_failure("a connection by its name leads to another database or server")
            raise Unreachable(self.failure, "error")

    def _note_failure(self, reason: str) -> None:
        # The class of an error decides what its text may show.
        self.failure = self.failure or str(Unreachable(reason, "error"))
        self._failed.set()


def _build_parameters(beside: Connection, database: str) -> dict[str, Any]:
    """How to connect to another database of the server that a connection leads to, with the same start-up options.

    Of several hosts the DSN may name, this one.
    """
    info, found = beside.connection.info, beside.connection.pgconn
    parameters: dict[str, Any] = dict(info.get_parameters())
    for key in ("target_session_attrs", "load_balance_hosts", "service", "servicefile"):
        parameters.pop(key, None)
    address = {"host": found.host.decode(), "port": found.port.decode(), "hostaddr": found.hostaddr.decode()}
    return (
        parameters
        | {key: value for key, value in address.items() if value}
        | {"dbname": database, "password": info.password, "connect_timeout": _NEVER, "autocommit": True}
    )
