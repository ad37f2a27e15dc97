"""A connection on which nothing can hang, and driver errors in people's words.

Every wait has a deadline on our side: a server that accepts and then says nothing (stopped, half-open socket)
cannot be helped by `statement_timeout`. Past the deadline the connection is thrown away, not repaired.
"""

import asyncio
import codecs
import math
import os
import re
import time
from collections.abc import AsyncGenerator, Coroutine, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, contextmanager, suppress
from functools import cache
from itertools import takewhile
from math import ceil
from typing import Any, LiteralString, NamedTuple, Protocol, Self, TypeVar, cast

import psycopg
from psycopg import BaseConnection, pq
from psycopg.abc import AdaptContext, Buffer
from psycopg.adapt import Loader
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import Format
from psycopg.pq.abc import PGresult
from psycopg.rows import namedtuple_row

from pgdoctor.errors import StatementFailed, Unreachable, Unsupported, UsageError
from pgdoctor.formatting import DEFAULT_PORT, format_address
from pgdoctor.postgres.conninfo import ConnectionTarget, parse_failures, resolve_target
from pgdoctor.postgres.login_refusal import LoginRefusal, fetch_login_refusal
from pgdoctor.postgres.queries import load_sql
from pgdoctor.postgres.read_batch import BatchFailed, Read, ReadBatch, Rows
from pgdoctor.postgres.session_settings import SEARCH_PATH, start_up_options, transaction_settings
from pgdoctor.postgres.tls_request import answers_tls_request

APPLICATION_NAME = "pgdoctor"

#: The oldest server whose locks can be read exactly: `pg_locks.waitstart` came with it.
OLDEST_VERSION = 140_000

#: How a connection can be. There is no SQLSTATE before a connection, so the server's and libpq's words are read;
#: where they are not English, `login_refusal` finds the SQLSTATE.
STATES = ("connected", "refused", "auth_failed", "unknown_database", "too_many_connections",
          "too_many_connections_for_role", "too_many_connections_for_database", "starting_up", "not_permitted",
          "unsupported", "login_hangs", "timeout", "error")  # fmt: skip

# The first that fits. Each is English only: a translation may keep a single word.
_SAID = tuple(
    (re.compile(words), state)
    for words, state in (
        (r"connection refused", "refused"),
        (r"no such file or directory", "refused"),
        (r"failed to resolve host", "refused"),
        (r"too many connections for role", "too_many_connections_for_role"),
        (r"too many connections for database", "too_many_connections_for_database"),
        (r"too many clients", "too_many_connections"),
        (r"too many connections", "too_many_connections"),
        (r"remaining connection slots", "too_many_connections"),
        (r"starting up", "starting_up"),
        (r"shutting down", "starting_up"),
        (r"in recovery mode", "starting_up"),
        (r"not accepting connections", "starting_up"),
        (r"not yet accepting connections", "starting_up"),
        (r"not currently accepting connections", "not_permitted"),
        (r"not permitted to log in", "not_permitted"),
        (r"permission denied", "not_permitted"),
        (r"authentication failed", "auth_failed"),
        (r"no password supplied", "auth_failed"),
        (r"no pg_hba.conf entry", "auth_failed"),
        # Of our own session, which has these from its start on.
        (r"due to (?:lock|statement) timeout", "login_hangs"),
        (r"timeout expired|_timeout\b|connect(?:ion)? timeout|login timeout", "timeout"),
        (r"timed out", "timeout"),
        (r'role "[^"]*" does not exist|no such user', "auth_failed"),
        (r'(?:database "[^"]*" does not exist|(?:invalid|no such) database)', "unknown_database"),
    )
)

#: What libpq, and the driver, make of any shorter one.
SHORTEST_CONNECT_TIMEOUT = 2

#: Seconds for a process of the server to answer a request for TLS; the share of the deadline after which that is sent.
_ANSWER_SECONDS = 0.5
_ASKED_AFTER = 0.8

#: Seconds that no login takes.
_NEVER = 86_400

#: What poolers say to start-up options: PgBouncer, and RDS Proxy.
_REFUSES_OPTIONS = ("unsupported startup parameter", "command-line options")

#: Characters of what a server says that are read: fifty hosts, each with its reason.
_MOST_SAID = 10_000

_BEFORE_REASON = re.compile(r"connection to server (?:at|on socket) .*? failed: ")


#: What libpq takes for a database: an unescaped '@' in it is the end of a password with a '/' in it.
_URI_WITH_LATE_AT = re.compile(r"postgres(?:ql)?://[^/?]*/[^?]*@")

_PORTS = re.compile(r"[0-9]*(,[0-9]*)*")

_UNPARSABLE = (
    "the DSN is not valid (not shown, because it may contain a password): use a URI such as "
    "postgresql://user@host:5432/dbname or key=value pairs such as 'host=… dbname=… user=…'"
)

#: Deadlines that several statements have together.
_BATCH_DEADLINES = 2

#: Sent before and after the statements whose time is counted, in the same round trip: on a slow line our own clock
#: shows the line.
_CLOCK = Read("server_clock", {})

#: Statements of each poll. Their row says itself for how long the server was at it (`server_seconds`): reading its
#: clock before and after costs the agent twice as much as the statement (measured).
_TIMED = frozenset({"gate", "lock_waiters"})

#: Our statements ask for no other locks.
_LOCKED = "another session holds a lock on a system catalog that this needs"

#: out_of_memory: of the process, or of the shared lock table.
_OUT_OF_MEMORY = "53200"
_LOCK_TABLE_FULL = (
    "out of shared memory: the lock table is full, so any session that needs one more lock fails, and logins do. "
    "End a transaction with many locks (`pgdoctor holders` names them, as does an agent that was connected before), "
    "then raise max_locks_per_transaction (needs a restart)"
)

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
        if isinstance(error, psycopg.errors.LockNotAvailable):
            return StatementFailed(_LOCKED, error.sqlstate)
        if error.sqlstate == _OUT_OF_MEMORY and _is_about_locks(error.diag.message_hint or ""):
            return StatementFailed(_LOCK_TABLE_FULL, error.sqlstate)
        return StatementFailed(first_line(error), error.sqlstate)


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


class Text(Loader):
    """Text of any bytes: read in the encoding of the database, and never an error."""

    format = Format.TEXT

    def __init__(self, oid: int, context: AdaptContext | None = None) -> None:
        super().__init__(oid, context)
        self._encoding = "utf-8"
        if self.connection is not None:
            self._encoding = python_codec(self.connection)

    def load(self, data: Buffer) -> str:
        """The text, with what is no text replaced."""
        return bytes(data).decode(self._encoding, errors="replace")


class BinaryText(Text):
    """The same for binary results."""

    format = Format.BINARY


def python_codec(connection: BaseConnection[Any]) -> str:
    """Python's name for a server's encoding; UTF-8 for SQL_ASCII, which is none, and for what Python lacks."""
    name = (connection.pgconn.parameter_status(b"server_encoding") or b"").decode().replace("WIN", "cp")
    try:
        return "utf-8" if name == "SQL_ASCII" else codecs.lookup(name).name
    except LookupError:
        return "utf-8"


def read_dsn(dsn: str) -> dict[str, Any]:
    """The connection parameters of a DSN. Raises UsageError without showing the DSN."""
    try:
        parameters = conninfo_to_dict(dsn)
    except psycopg.Error:
        raise UsageError(_UNPARSABLE) from None
    # An unescaped '@', '/' or ':' in a password makes libpq take part of it for a host, a port or a database, which
    # would then be shown.
    misread = "@" in str(parameters.get("host", "")) or _URI_WITH_LATE_AT.match(dsn)
    if misread or not _PORTS.fullmatch(str(parameters.get("port", ""))):
        raise UsageError(f"{_UNPARSABLE}; in a URI write '@' in a password as %40, ':' as %3A and '/' as %2F")
    return parameters


def parse_dsn(dsn: str) -> dict[str, Any]:
    """The connection parameters of a DSN, with ours over them. Raises UsageError without showing the DSN."""
    return read_dsn(dsn) | {
        "application_name": APPLICATION_NAME,
        # The server sends bytes as they are stored. With any other value it would check them, and refuse a whole
        # result for one session's statement in another encoding. `Text` decodes them.
        "client_encoding": "SQL_ASCII",
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        # Keepalives are not sent while data is not acknowledged: a login that is lost with its line would end after a
        # quarter of an hour.
        "tcp_user_timeout": 25_000,
    }


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


def host_count(parameters: Mapping[str, object]) -> int:
    """How many hosts are named to be tried in turn, by parameters or libpq's environment."""
    named = (parameters.get(key) or os.environ.get(f"PG{key.upper()}", "") for key in ("host", "hostaddr"))
    return max(str(hosts).count(",") + 1 for hosts in named)


async def _is_answering(target: ConnectionTarget) -> bool:
    """A process of the server answers: the login hangs, and not the machine."""
    return bool(target.places) and await answers_tls_request(target.places[0], _ANSWER_SECONDS)


def build_unresolved_error(target: ConnectionTarget) -> Unreachable:
    """The error of a host name that means nothing."""
    return Unreachable(f"{target} failed: the host name cannot be resolved", "refused")


def build_hanging_error(deadline: float, target: ConnectionTarget) -> Unreachable:
    """The error of a server that accepts connections but completes no login."""
    return Unreachable(
        f"{target} failed: the server accepts the connection, but the login does not end within {deadline:g} s: a "
        "session may hold a lock on a catalog that each login reads (pg_authid, pg_database)",
        "login_hangs",
    )


def silent_server_error(deadline: float, target: ConnectionTarget) -> Unreachable:
    """The error of a server that accepts but does not answer."""
    return Unreachable(f"{target} failed: the server did not answer within {deadline:g} s", "timeout")


def connection_error(
    error: psycopg.Error, target: ConnectionTarget, outcome: str = "failed", refusal: LoginRefusal | None = None
) -> Unreachable:
    """A connection that failed, or was lost, in one line, with its state and each server that was tried."""
    said = _decode_failure(error)
    text = shorten_reason(said[:_MOST_SAID]) or type(error).__name__
    state = refusal.state if refusal else _state_of(error)
    tried = {place: shorten_reason(reason) for place, reason in parse_failures(said[:_MOST_SAID]).items()}
    if len(tried) > 1:
        text = "; ".join(f"{place}: {reason}" for place, reason in tried.items())
    elif _is_about_locks(said):
        text = _LOCK_TABLE_FULL
    code = f"SQLSTATE {refusal.sqlstate}" if refusal else ""
    return Unreachable(f"{target} {outcome}: {'; '.join(filter(None, (text, code)))}", state)


def _state_of(error: psycopg.Error) -> str:
    if isinstance(error, psycopg.errors.ConnectionTimeout):
        return "timeout"
    said = str(error).lower()
    if state := next((state for words, state in _SAID if words.search(said)), None):
        return state
    if error.sqlstate is not None:
        # Of a connection that is lost: the answer to a statement has said why.
        return LoginRefusal(error.sqlstate).state
    return "auth_failed" if _asks_for_password(error) else "error"


def _asks_for_password(error: psycopg.Error) -> bool:
    """The server has asked for one, in whatever language, and there was none."""
    return error.pgconn is not None and error.pgconn.needs_password


def _decode_failure(error: psycopg.Error) -> str:
    """What is said of a failed login. The server's words come in its own encoding, of which it says nothing."""
    said = str(error)
    if said.isascii() or error.pgconn is None:
        return said
    raw = error.pgconn.error_message
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _is_about_locks(hint: str) -> bool:
    """The shared memory that has run out is the lock table. Its setting has one name in every language."""
    return "max_locks_per_transaction" in hint


def first_line(error: psycopg.Error) -> str:
    """What the server says, without its severity and without the hints that follow."""
    return shorten_reason(str(error)[:_MOST_SAID]) or type(error).__name__


def shorten_reason(said: str) -> str:
    """The reason in what libpq or the server says at length: the first line, less what stands before the reason."""
    line = said.strip().partition("\n")[0]
    before = _BEFORE_REASON.search(line)
    return re.sub(r"^(?:(?:FATAL|ERROR|PANIC):\s+|\w+:\s{2,})", "", line[before.end() if before else 0 :].strip())
