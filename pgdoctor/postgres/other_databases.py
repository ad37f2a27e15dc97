"""What is read in other databases of the server while an incident touches them.

Nothing waits for it: a connection that cannot be opened, a login that hangs or a locked catalog there is one sentence,
and what comes too late is there for the next poll.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec

from pgdoctor.errors import ServerError, Unreachable
from pgdoctor.model.query_plan import QueryPlan
from pgdoctor.model.snapshot import LockedObject, Relation, ToolTraces, ValueShare
from pgdoctor.postgres.catalog import CatalogReader
from pgdoctor.postgres.connection import Connection
from pgdoctor.postgres.database_pool import DatabaseAddress, DatabasePool
from pgdoctor.postgres.read_batch import Rows

#: Databases that are open at once. With the agent's connection, its login probe, and another agent that takes over,
#: they stay within the ten connections of the role that `pgdoctor setup` creates.
MOST_DATABASES = 3

#: Connections that must be free before one is taken for this, within each limit.
FREE_SLOTS = 3

#: Seconds until a database that could not be opened is tried again, and for which names that were read are good.
_TRY_AGAIN = 10.0
_GOOD_FOR = 10.0

#: Seconds that a decision waits for an answer from another database.
_AT_ONCE = 0.5
_NOT_NOW = "the database is not connected to, or does not answer"

OFF = "look_into_databases is off"
#: A pooler keeps its own connection to the database, for minutes: DROP DATABASE would fail for as long.
POOLED = "a pooler would keep a connection to it open; connect to the server itself"
_TOO_MANY = f"at most {MOST_DATABASES} other databases are read at a time"


class DatabaseReading(msgspec.Struct):
    """What was read in one database. Facts by PID hold for the moment only, and so do the names above tables."""

    relations: Mapping[int, Relation] = {}
    objects: tuple[LockedObject, ...] = ()
    ancestors: Mapping[int, frozenset[str]] | None = None
    traces: Mapping[int, ToolTraces] = {}
    redefines: Mapping[int, bool] = {}
    clustering: frozenset[int] = frozenset()
    catching: frozenset[int] = frozenset()
    plans: Mapping[int, QueryPlan] = {}
    value_shares: Mapping[int, tuple[ValueShare, ...]] = {}
    #: What could not be read, in plain words.
    unread: tuple[str, ...] = ()


#: Reads a database, by its OID and name, over a connection to it.
Read = Callable[[int, str, Connection], Awaitable[DatabaseReading]]


class DatabaseAnswer(msgspec.Struct, frozen=True):
    """A database by name; what was read in it, or why that is nothing."""

    name: str | None
    reading: DatabaseReading | None = None
    unread: str | None = None


class OtherDatabases:
    """The other databases of the server behind one connection. They are closed with it."""

    def __init__(self, connection: Connection) -> None:
        self._door = connection
        self._readers: dict[int, _OpenDatabase] = {}
        #: By OID, why a database could not be opened, and when.
        self._failed: dict[int, tuple[str, float]] = {}

    @classmethod
    def share_readers(cls, connection: Connection) -> "OtherDatabases":
        """Those of a connection: every reader of a server has the same."""
        if not isinstance(connection.beside, OtherDatabases):
            connection.beside = cls(connection)
        return connection.beside

    async def begin(self, touched: Counter[int], read: Read, evidence: CatalogReader) -> "Readings":
        """Begin to read in these databases, those with most sessions first.

        `evidence` reads over the first connection.
        """
        oids = sorted(touched, key=lambda oid: (-touched[oid], oid))
        rows = await evidence.answer("other_databases", oids=oids)
        if rows is None:
            return Readings({oid: DatabaseAnswer(None, unread="pg_database could not be read") for oid in oids}, {})
        known = {row.oid: row for row in rows}
        answers: dict[int, DatabaseAnswer] = {}
        begun: dict[int, _OpenDatabase] = {}
        for oid in oids:
            if (row := known.get(oid)) is None:
                answers[oid] = DatabaseAnswer(None, unread="it is gone")
            elif objection := self._find_objection(row, len(begun)):
                answers[oid] = DatabaseAnswer(row.name, unread=objection)
            else:
                begun[oid] = self._find_reader(row)
        for oid in self._readers.keys() - begun.keys():
            self._readers.pop(oid).abandon()
        for reader in begun.values():
            reader.begin(read)
        return Readings(answers, begun)

    async def waiter_rights(self, oid: int, pids: Sequence[int]) -> Rows:
        """What `waiter_rights.sql` says in a database that the last snapshot has read.

        Raises ServerError where it does not answer at once: no decision waits for it.
        """
        opened = self._readers.get(oid)
        if opened is None or opened.task is not None or opened.pool.failure:
            raise Unreachable(_NOT_NOW, "error")
        try:
            async with asyncio.timeout(_AT_ONCE):
                return await opened.pool.use_connection(
                    lambda connection: connection.fetch("waiter_rights", pids=list(pids))
                )
        except TimeoutError:
            raise Unreachable(_NOT_NOW, "timeout") from None

    def abandon(self) -> None:
        """Close all connections at once, whatever the server does."""
        for reader in self._readers.values():
            reader.abandon()
        self._readers.clear()

    async def close(self) -> None:
        """Close all connections."""
        readers = list(self._readers.values())
        self._readers.clear()
        await asyncio.gather(*(reader.close() for reader in readers))

    def _find_reader(self, row: Any) -> "_OpenDatabase":
        reader = self._readers.get(row.oid)
        if reader is None or reader.pool.address.name != row.name:
            if reader is not None:
                reader.abandon()
            reader = _OpenDatabase(DatabasePool(self._door, DatabaseAddress(row.oid, row.name, row.started)))
            self._readers[row.oid] = reader
        return reader

    def _find_objection(self, row: Any, begun: int) -> str:
        """Why a database is not read; empty without an objection."""
        reader = self._readers.get(row.oid)
        if reader is not None and reader.pool.failure:
            self._failed[row.oid] = reader.pool.failure, time.monotonic()
            self._readers.pop(row.oid).abandon()
        failure, since = self._failed.get(row.oid, ("", 0.0))
        if failure and time.monotonic() - since < _TRY_AGAIN:
            return failure
        if begun >= MOST_DATABASES:
            return _TOO_MANY
        is_open = row.oid in self._readers and self._readers[row.oid].pool.is_connected
        return "" if is_open else find_objection(row, begun)


def find_objection(row: Any, begun: int) -> str:
    """Why no connection to a database is opened, by what the server says of it. `begun`: others that may be opened."""
    if not row.allows_connections:
        return "it does not allow connections (ALLOW_CONNECTIONS false)"
    if not row.may_connect:
        return (
            f"our role may not connect to it; GRANT CONNECT ON DATABASE {row.quoted} TO {row.quoted_role} permits that"
        )
    limits = {"of the server": row.left_of_server, "of our role": row.left_of_role, "of it": row.left_of_database}
    short = [whose for whose, left in limits.items() if left is not None and left - begun < FREE_SLOTS]
    return f"too few connections {short[0]} are free: they are left to clients" if short else ""


class Readings:
    """What has begun, and what is known without it."""

    def __init__(self, answers: dict[int, DatabaseAnswer], begun: Mapping[int, "_OpenDatabase"]) -> None:
        self._answers = answers
        self._begun = begun

    async def finish(self, patience: float) -> dict[int, DatabaseAnswer]:
        """By OID, what has come within so many seconds."""
        # One that has been waited for at an earlier poll is not waited for again.
        fresh = [reader.task for reader in self._begun.values() if reader.task is not None and reader.is_fresh]
        if fresh:
            await asyncio.wait(fresh, timeout=patience)
        return {**self._answers, **{oid: reader.answer() for oid, reader in self._begun.items()}}


class _OpenDatabase:
    """Reads one database, once at a time, and remembers the names for some seconds."""

    def __init__(self, pool: DatabasePool) -> None:
        self.pool = pool
        self.task: asyncio.Task[DatabaseReading] | None = None
        #: The task began at this poll.
        self.is_fresh = False
        self._began = 0.0
        self._latest: DatabaseReading | None = None
        self._read_at = 0.0

    def begin(self, read: Read) -> None:
        """Read, unless an earlier reading goes on."""
        self.is_fresh = self.task is None or self.task.done()
        if self.is_fresh:
            self._take_reading()
            self._began = time.monotonic()
            address = self.pool.address
            self.task = asyncio.ensure_future(
                self.pool.use_connection(lambda connection: read(address.oid, address.name, connection))
            )
            # What it raises is asked for later, or never.
            self.task.add_done_callback(lambda task: task.cancelled() or task.exception())

    def answer(self) -> DatabaseAnswer:
        """What is known now."""
        name = self.pool.address.name
        if self.is_fresh and self.task is not None and self.task.done():
            error = self._take_reading()
            if error is not None:
                return DatabaseAnswer(name, unread=error)
            return DatabaseAnswer(name, self._latest)
        if self._latest is not None and time.monotonic() - self._read_at <= _GOOD_FOR:
            return DatabaseAnswer(name, DatabaseReading(relations=self._latest.relations, objects=self._latest.objects))
        return DatabaseAnswer(name, unread=f"it has not answered for {time.monotonic() - self._began:.1f} s")

    def abandon(self) -> None:
        """Close the connection at once, and break off what goes on."""
        if self.task is not None:
            self.task.cancel()
        self.pool.abandon()

    async def close(self) -> None:
        """The same, and wait until it is done."""
        self.abandon()
        if self.task is not None:
            await asyncio.wait({self.task})
        await self.pool.close()

    def _take_reading(self) -> str | None:
        """Take in what the task has read; or why it has read nothing."""
        task, self.task = self.task, None
        if task is None or task.cancelled():
            return "reading it was broken off"
        error = task.exception()
        if error is None:
            self._latest, self._read_at = task.result(), self._began
            return None
        return str(error) if isinstance(error, ServerError) else f"internal error: {type(error).__name__}"
