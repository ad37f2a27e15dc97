"""One real session whose statements may hang."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Self

import psycopg

Rows = list[tuple[Any, ...]]

#: How long to wait, in seconds, for a statement that should end or a state that should come, on a busy machine too.
PATIENCE = 20.0
_PAUSE = 0.005

_ACTIVE = "select from pg_stat_activity where pid = %(pid)s and state = 'active' and query <> 'BEGIN'"

_WAITING = """
    select from pg_locks
    where not granted
      and (pid = %(pid)s or pid in (select pid from pg_stat_activity where leader_pid = %(pid)s))
"""

_SHOWN = """
    select concat_ws(' ', state, wait_event_type, wait_event, query)
    from pg_stat_activity where pid = %(pid)s
"""


def wait_until(condition: Callable[[], Any], timeout: float = PATIENCE, what: str = "") -> Any:
    """Ask again and again until the condition holds, and return its answer; fails after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not (answer := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout:g} s: {what or condition}")
        time.sleep(_PAUSE)
    return answer


class Client:
    """A connection that runs one statement at a time on a thread of its own, so that the test can go on.

    Without `autocommit` the first statement opens a transaction, which stays open until `run("commit")`.
    """

    def __init__(self, connection: psycopg.Connection, control: psycopg.Connection) -> None:
        self.pid: int = connection.info.backend_pid
        self._connection = connection
        self._control = control
        self._statement = ""
        self._outcome: Future[Rows] | None = None

    def __repr__(self) -> str:
        return f"<Client {self.pid}: {self._statement or 'nothing'}>"

    def run(self, sql: str, params: Any = None, timeout: float = PATIENCE) -> Rows:
        """Run statements to their end; return the rows of the last one, or raise its error."""
        self._begin(sql, params)
        return self.finish(timeout)

    def start(self, sql: str) -> Self:
        """Run a statement in the background; returns once the server shows it as active, or it has ended."""
        outcome = self._begin(sql)
        self._wait_until(lambda: outcome.done() or self._exists(_ACTIVE), "active")
        return self

    def block(self, sql: str) -> Self:
        """Run a statement in the background; returns once it, or a worker of it, waits for a lock."""
        outcome = self._begin(sql)
        self._wait_until(lambda: outcome.done() or self._exists(_WAITING), "waiting for a lock")
        if outcome.done():
            raise AssertionError(f"it was to block, but it ended with {self.finish()}: {sql}")
        return self

    def finish(self, timeout: float = PATIENCE) -> Rows:
        """Wait for the background statement; return its rows, or raise its error."""
        assert self._outcome is not None, "no statement to wait for"
        try:
            rows = self._outcome.result(timeout)
        except TimeoutError:
            raise AssertionError(f"not done within {timeout:g} s: {self._statement} ({self.shown()})") from None
        except BaseException:
            self._outcome = None
            raise
        self._outcome = None
        return rows

    @property
    def busy(self) -> bool:
        """Is a statement still running?"""
        return self._outcome is not None and not self._outcome.done()

    def shown(self) -> str:
        """Return what the server says about this session: state, wait event, statement."""
        row = self._control.execute(_SHOWN, {"pid": self.pid}).fetchone()
        return row[0] if row else "no such session"

    def close(self) -> None:
        """End the session, also in the middle of a statement, which then fails."""
        if self._outcome is not None and self.busy:
            self._control.execute("select pg_terminate_backend(%s)", [self.pid])
            self._outcome.exception(PATIENCE)
        self._connection.close()

    def _begin(self, sql: str, params: Any = None) -> Future[Rows]:
        assert not self.busy, f"this client is still busy with: {self._statement}"
        self._statement = sql
        self._outcome = outcome = Future()
        # A daemon: a statement that never ends must not keep the test run from ending.
        threading.Thread(target=self._execute, args=(outcome, sql, params), daemon=True).start()
        return outcome

    def _execute(self, outcome: Future[Rows], sql: str, params: Any) -> None:
        try:
            with self._connection.cursor() as cursor:
                cursor.execute(sql, params)
                while cursor.nextset():
                    pass
                outcome.set_result(cursor.fetchall() if cursor.description else [])
        except BaseException as error:
            outcome.set_exception(error)

    def _exists(self, sql: str) -> bool:
        return self._control.execute(sql, {"pid": self.pid}).fetchone() is not None

    def _wait_until(self, condition: Callable[[], bool], what: str) -> None:
        try:
            wait_until(condition)
        except AssertionError:
            raise AssertionError(f"not {what}: {self._statement} ({self.shown()})") from None
