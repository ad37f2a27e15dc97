"""A connection on which nothing can hang.

Every wait has a deadline on our side: a server that accepts and then says nothing (stopped, half-open socket)
cannot be helped by `statement_timeout`. Past the deadline the connection is thrown away, not repaired.
"""

import asyncio
import math
import re
import time
from collections.abc import AsyncGenerator, Coroutine, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, contextmanager, suppress
from functools import cache
from itertools import takewhile
from math import ceil
from typing import Any, LiteralString, NamedTuple, Protocol, Self, TypeVar, cast

import psycopg
from psycopg import pq
from psycopg.pq.abc import PGresult
from psycopg.rows import namedtuple_row

from pgdoctor.errors import StatementFailed, Unsupported
from pgdoctor.formatting import DEFAULT_PORT, format_address
from pgdoctor.postgres.connection_errors import connection_error, silent_server_error, statement_error
from pgdoctor.postgres.conninfo import ConnectionTarget
from pgdoctor.postgres.login_attempt import LoginAttempt
from pgdoctor.postgres.queries import load_sql
from pgdoctor.postgres.read_batch import BatchFailed, Read, ReadBatch, Rows
from pgdoctor.postgres.session_settings import SEARCH_PATH, transaction_settings
from pgdoctor.postgres.text_loader import BinaryText, Text

#: The oldest server whose locks can be read exactly: `pg_locks.waitstart` came with it.
OLDEST_VERSION = 140_000

#: Deadlines that several statements have together.
_BATCH_DEADLINES = 2

#: Sent before and after the statements whose time is counted, in the same round trip: on a slow line our own clock
#: shows the line.
_CLOCK = Read("server_clock", {})

#: Statements of each poll. Their row says itself for how long the server was at it (`server_seconds`): reading its
#: clock before and after costs the agent twice as much as the statement (measured).
_TIMED = frozenset({"gate", "lock_waiters"})

#: A statement that was cancelled, by its timeout too, or that had to wait for a lock: the next one may do.
_PASSING = ("57014", "55P03")

T = TypeVar("T")


class StatementCost(NamedTuple):
    """What statements have cost so far."""

    statements: int = 0
    #: Of the rows that came back, as the protocol frames them.
    received_bytes: int = 0
    #: By the server's clock, before and after the statements that are sent together. Behind a pooler, and of what
    #: fails, by ours, less what the quickest one took, which is the way there and back. Waiting for a lock costs the
    #: server nothing, and does not count.
    seconds: float = 0.0

    def subtract_cost(self, before: "StatementCost") -> "StatementCost":
        """What has come on top of an earlier sum."""
        return StatementCost(
            self.statements - before.statements,
            self.received_bytes - before.received_bytes,
            self.seconds - before.seconds,
        )


class Beside(Protocol):
    """Connections that go with another one."""

    def abandon(self) -> None:
        """Close them at once, whatever the server does."""

    async def close(self) -> None:
        """Close them."""


class Connection:
    """One connection to one server, in autocommit, with settings of its own (see `settings`).

    Behind a pooler the session is not ours: each statement is a transaction that has them.

    Raises Unreachable when the connection is gone or silent (it is unusable from then on) and StatementFailed
    when the server answered with an error.
    """

    def __init__(self, connection: psycopg.AsyncConnection[Any], deadline: float) -> None:
        self.connection = connection
        #: Seconds that a statement may take, on our clock.
        self.deadline = deadline
        self.cost = StatementCost()
        # Not by `connection.info`, which raises where the connection is lost already.
        found = connection.pgconn
        self.host, self.port, self.user = found.host.decode(), int(found.port or DEFAULT_PORT), found.user.decode()
        #: The server's `cluster_name`; None: it has none.
        self.cluster_name: str | None = None
        #: The session that answers is not the one that was connected to: a pooler stands in between, and what is done
        #: to the session (settings, prepared statements) is left to the client it serves next. So until it is known.
        self.is_pooled = True
        #: What is open beside it, and is closed with it.
        self.beside: Beside | None = None
        #: Other databases of the server may be connected to, while an incident touches them.
        self.looks_into_databases = True
        self._quickest = math.inf
        self._system_identifier: str | None = None
        self.reads = ReadBatch(self._read_all)
        # While one task reads the answers of a pipeline, no other may send.
        self._turn = asyncio.Lock()
        #: By name, the cursor of a statement that the server has prepared, and that is sent at each poll.
        self._cursors: dict[str, psycopg.AsyncCursor[Any]] = {}

    @classmethod
    async def open(cls, dsn: str, deadline: float = 5.0) -> Self:
        """Connect within `deadline` seconds. `dsn` is what libpq takes; its environment fills in the rest."""
        attempt = LoginAttempt(dsn, deadline)
        try:
            connection = await attempt.await_connection()
        except BaseException:
            attempt.abandon()
            raise
        return await cls.enter(connection, deadline)

    @classmethod
    async def enter(cls, connection: psycopg.AsyncConnection[Any], deadline: float) -> Self:
        """Wrap an open connection."""
        server = cls(connection, deadline)
        try:
            await server.prepare_session()
        except BaseException:
            server.abandon()
            raise
        return server

    async def prepare_session(self) -> None:
        """Refuse a server that is too old, and make the session's settings ours, if it is ours alone."""
        if self.version_num < OLDEST_VERSION:
            raise Unsupported(
                f"{self.target} failed: the server is PostgreSQL {self.version_num // 10_000}; "
                f"pgdoctor needs {OLDEST_VERSION // 10_000} or later",
                "unsupported",
            )
        for loader in (Text, BinaryText):
            for kind in ("text", "name", "varchar", "json"):
                self.connection.adapters.register_loader(kind, loader)
        about = {"own_pid": self.connection.info.backend_pid, "search_path": SEARCH_PATH}
        [session] = await self.within_deadline(self._execute_statement("session", about))
        self.is_pooled = not session.is_ours
        self.cluster_name = session.cluster_name or None

    @property
    def target(self) -> ConnectionTarget:
        """The server that the connection goes to; of several that the DSN names, this one."""
        return ConnectionTarget((format_address(self.host, self.port),), self.user)

    @property
    def transaction_settings(self) -> str:
        """Statements that a transaction has to begin with; none where the session is ours."""
        return transaction_settings(self.version_num, self.deadline) if self.is_pooled else ""

    @property
    def version_num(self) -> int:
        """The server's version as 150018."""
        return self.connection.info.server_version

    @property
    def is_open(self) -> bool:
        """Whether the connection can still be used, as far as is known."""
        return not self.connection.closed

    @property
    def known_system_identifier(self) -> str:
        """The system identifier where it was asked for already; empty: it was not, or is not known."""
        return self._system_identifier or ""

    async def system_identifier(self) -> str:
        """The identity of this server; empty where the role may not read it, or it cannot be read now."""
        if self._system_identifier is None:
            try:
                self._system_identifier = str((await self.fetch("system_identifier"))[0].system_identifier)
            except StatementFailed as error:
                if error.sqlstate in _PASSING:
                    return ""
                self._system_identifier = ""
        return self._system_identifier

    async def fetch(self, name: str, **parameters: object) -> Sequence[Any]:
        """The rows of statement `name` of `sql/`, as named tuples."""
        return await self.within_deadline(self._run_pinned(self._execute_statement(name, parameters)))

    async def read(self, name: str, **parameters: object) -> Rows:
        """As `fetch`, for a statement that may run twice: concurrent reads share one round trip."""
        while True:
            with suppress(BatchFailed):
                return await self.reads.fetch(name, **parameters)

    async def fetch_in_turn(self, reads: Sequence[Read], pauses: float = 0.0) -> Sequence[Rows]:
        """The rows of each read, one after the other in one round trip. `pauses`: seconds that they sleep in all.

        Raises ServerError. Through a pooler each is a round trip.
        """
        if self.is_pooled:
            return [await self.fetch(read.name, **read.parameters) for read in reads]
        deadlines = _BATCH_DEADLINES + ceil(pauses / self.deadline)
        return await self.within_deadline(self._send_pipeline(reads, []), deadlines)

    async def fetch_some(self, name: str, most: int) -> Sequence[Any]:
        """The first rows of a statement, as named tuples; the rest is never sent."""
        return await self.within_deadline(self._run_pinned(self._stream_rows(name, most)))

    async def within_deadline(self, work: Coroutine[Any, Any, T], deadlines: int = 1) -> T:
        """The result of work on the connection, which is thrown away where that takes too long."""
        task = asyncio.ensure_future(work)
        try:
            await asyncio.wait({task}, timeout=deadlines * self.deadline)
            if task.done():
                return task.result()
        except psycopg.Error as error:
            raise self._explain_error(error) from None
        finally:
            if not task.done():
                # Closed first, the driver gives up at once instead of asking the silent server to cancel.
                self.abandon()
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        raise silent_server_error(deadlines * self.deadline, self.target)

    def abandon(self) -> None:
        """Close the socket without a word to the server: takes no time even if the server is silent."""
        self.connection.pgconn.finish()
        if self.beside is not None:
            self.beside.abandon()

    async def close(self) -> None:
        """Say goodbye and close."""
        if self.beside is not None:
            await self.beside.close()
        await self.connection.close()

    def add_cost(self, cost: StatementCost) -> None:
        """Count what statements have cost that ran on its behalf over another connection."""
        statements, received, seconds = self.cost
        self.cost = StatementCost(statements + cost.statements, received + cost.received_bytes, seconds + cost.seconds)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _run_pinned(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of a statement that runs with our settings, whosever session it is."""
        if not self.is_pooled:
            return await work
        try:
            await self.connection.execute(f"BEGIN READ ONLY; {self.transaction_settings}".encode(), prepare=False)
        except BaseException:
            work.close()
            raise
        try:
            return await work
        finally:
            # After an error it is a rollback. Where the connection is gone, or still busy, there is nothing to end.
            if self.is_open and self.connection.pgconn.transaction_status != pq.TransactionStatus.ACTIVE:
                await self.connection.execute(b"COMMIT", prepare=False)

    async def _read_all(self, reads: Sequence[Read]) -> Sequence[Rows | StatementFailed | BatchFailed]:
        """The rows of each read or why the server refuses it; BatchFailed: it was not asked."""
        answered: list[Rows] = []
        try:
            if len(reads) == 1 or self.is_pooled:
                answered.append(await self.fetch(reads[0].name, **reads[0].parameters))
            else:
                # On a busy server each may come close to the deadline, at which the server ends a statement.
                return await self.within_deadline(self._send_pipeline(reads, answered), _BATCH_DEADLINES)
        except StatementFailed as error:
            # The server skips all that comes after the statement that failed; the last one only reads its clock.
            skipped = (BatchFailed() for _ in reads[len(answered) + 1 :])
            return answered if len(answered) == len(reads) else [*answered, error, *skipped]
        return [*answered, *(BatchFailed() for _ in reads[1:])]

    async def _execute_statement(self, name: str, parameters: Mapping[str, object]) -> Rows:
        if not self.is_pooled:
            return await self._execute_prepared(name, parameters)
        async with self._turn, self._make_cursor() as cursor:
            with self._counting_failures():
                began = time.monotonic()
                await self._send_statement(cursor, name, parameters)
            self._count_elapsed(time.monotonic() - began, received_bytes(cursor.pgresult))
            return await cursor.fetchall()

    async def _execute_prepared(self, name: str, parameters: Mapping[str, object]) -> Rows:
        """The rows of a statement in one round trip. Outside of a pipeline the driver prepares it in one of its own."""
        cursor = self._cursors.get(name)
        if cursor is None:
            [rows] = await self._send_pipeline([Read(name, parameters)], [])
            if name in _TIMED:
                self._cursors[name] = self._make_cursor()
            return rows
        async with self._turn:
            with self._counting_failures():
                await self._send_statement(cursor, name, parameters)
            rows = await cursor.fetchall()
            self._count_cost(rows[0].server_seconds, received_bytes(cursor.pgresult))
            return rows

    async def _send_pipeline(self, reads: Sequence[Read], answered: list[Rows]) -> Sequence[Rows]:
        """The rows of statements that are sent together. At an error `answered` gets the rows of those before it."""
        async with self._turn, AsyncExitStack() as stack:
            sent = (_CLOCK, *reads, _CLOCK)
            cursors = [await stack.enter_async_context(self._make_cursor()) for _ in sent]
            try:
                with self._counting_failures():
                    await self._send_together(cursors, sent)
            except psycopg.Error:
                done = takewhile(lambda cursor: cursor.pgresult is not None, cursors[1:-1])
                answered += [await cursor.fetchall() for cursor in done]
                raise
            [[began], *rows, [ended]] = [await cursor.fetchall() for cursor in cursors]
            received = sum(received_bytes(cursor.pgresult) for cursor in cursors[1:-1])
            self._count_cost((ended.now - began.now).total_seconds(), received, len(reads))
            return rows

    async def _send_together(self, cursors: Sequence[psycopg.AsyncCursor[Any]], reads: Sequence[Read]) -> None:
        """Raises the first error. Left to itself, the driver logs a second one at the end of the pipeline."""
        first: psycopg.Error | None = None
        try:
            async with self.connection.pipeline():
                try:
                    for cursor, read in zip(cursors, reads, strict=True):
                        await self._send_statement(cursor, read.name, read.parameters)
                except psycopg.Error as error:
                    first = error
        except psycopg.Error as error:
            first = first or error
        if first is not None:
            raise first

    def _make_cursor(self) -> psycopg.AsyncCursor[Any]:
        return self.connection.cursor(binary=True, row_factory=namedtuple_row)

    async def _send_statement(
        self, cursor: psycopg.AsyncCursor[Any], name: str, parameters: Mapping[str, object]
    ) -> None:
        await cursor.execute(
            _load_without_reasons(name, self.version_num), parameters or None, prepare=not self.is_pooled
        )

    @contextmanager
    def _counting_failures(self) -> Iterator[None]:
        """Count what a statement costs that fails meanwhile."""
        began = time.monotonic()
        try:
            yield
        except psycopg.errors.LockNotAvailable:
            self._count_cost(0.0)
            raise
        except psycopg.Error:
            self._count_elapsed(time.monotonic() - began)
            raise

    def _count_elapsed(self, seconds: float, received: int = 0) -> None:
        self._quickest = min(self._quickest, seconds)
        self._count_cost(seconds - self._quickest, received)

    def _count_cost(self, seconds: float, received: int = 0, count: int = 1) -> None:
        statements, before, spent = self.cost
        # The server's clock may be set back meanwhile.
        self.cost = StatementCost(statements + count, before + received, spent + max(seconds, 0.0))

    async def _stream_rows(self, name: str, most: int) -> Sequence[Any]:
        async with self.connection.cursor(row_factory=namedtuple_row) as cursor:
            rows: list[Any] = []
            stream = cast(AsyncGenerator[Any, None], cursor.stream(load_sql(name, self.version_num)))
            async with aclosing(stream):
                async for row in stream:
                    rows.append(row)
                    if len(rows) == most:
                        break
            return rows

    def _explain_error(self, error: psycopg.Error) -> Exception:
        if self.connection.closed or self.connection.broken:
            self.abandon()
            return connection_error(error, self.target, "lost")
        return statement_error(error)


@cache
def _load_without_reasons(name: str, version_num: int) -> LiteralString:
    """The statement with the first of its comments, which people see among the server's statements.

    The driver looks for parameters in texts of more than 4,096 characters at each execution.
    """
    first, _, rest = load_sql(name, version_num).partition("\n")
    # A LiteralString in good conscience: less of one is one too.
    return first + "\n" + re.sub(r"^ *--.*\n", "", rest, flags=re.MULTILINE)


def received_bytes(result: PGresult | None) -> int:
    """Bytes of the rows of a result, as the protocol frames them: 7 for a row, 4 for a value, and the values.

    Takes 1.4 ms for a thousand waiters, where decoding them takes 9 (measured).
    """
    if result is None:
        return 0
    rows, columns = range(result.ntuples), range(result.nfields)
    values = sum(len(result.get_value(row, column) or b"") for row in rows for column in columns)
    return values + len(rows) * (7 + 4 * len(columns))
