"""A login of the agent's own, every few seconds: connected sessions do not show that new logins hang.

One attempt at a time, and each closes at once. One that hangs is neither broken off nor followed by another: the
server's process would go on waiting behind it, so each new attempt would take one more slot.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from pgdoctor.errors import ServerError
from pgdoctor.model.snapshot import Login
from pgdoctor.postgres.login_attempt import LoginAttempt

log = logging.getLogger(__name__)

#: Connections that must be free before one is taken for this.
FREE_SLOTS = 3

#: States of a login that say nothing of other clients': the limit is that of our role.
_OWN_LIMIT = frozenset({"too_many_connections_for_role"})

#: The state of one that may still end well.
_HANGS = "login_hangs"

#: Seconds between two checks whether a probe is due: at least, and at most, for the interval may be changed.
_SHORTEST_PAUSE = 0.2
_LONGEST_PAUSE = 5.0


class LoginProbe:
    """Logs in every `interval` seconds, while `may_run` allows; 0: never.

    `read_dsn`: where to. `may_run`: the agent itself is connected, and slots are free.
    """

    def __init__(
        self, read_dsn: Callable[[], Awaitable[str]], may_run: Callable[[], bool], interval: float, deadline: float
    ) -> None:
        self._read_dsn = read_dsn
        self._may_run = may_run
        self._interval = interval
        self._deadline = deadline
        self._attempt: LoginAttempt | None = None
        self._began = 0.0
        #: Seconds of the last login that ended well; why the last one failed, and when that began.
        self._seconds: float | None = None
        self._error: str | None = None
        self._failing_since = 0.0

    def reconfigure(self, interval: float, deadline: float, *, forget: bool) -> None:
        """Go on with other settings. `forget`: it is another server now."""
        self._interval, self._deadline = interval, deadline
        if forget:
            self._drop_attempt()
            self._began, self._seconds, self._error = time.monotonic(), None, None

    @property
    def result(self) -> Login | None:
        """What is known now; None where it is switched off."""
        if not self._interval:
            return None
        if self._error is None:
            return Login(self._seconds)
        now = time.monotonic()
        hangs = self._attempt is not None and now - self._began > self._deadline
        error = f"the login has not ended for {now - self._began:.0f} s" if hangs else self._error
        return Login(self._seconds, error, max(now - self._failing_since, 0.0))

    async def run(self, phase: float = 0.0) -> None:
        """Probe until cancelled; the first time after one interval, for the agent itself has just logged in.

        `phase`: by which share of an interval that is later than at other servers.
        """
        self._began = time.monotonic() + phase * self._interval
        try:
            while True:
                await asyncio.sleep(self._pause_seconds())
                if self._attempt is not None:
                    await self._follow_attempt(self._attempt)
                elif self._interval and time.monotonic() - self._began >= self._interval and self._may_run():
                    await self._begin_attempt()
        finally:
            self._drop_attempt()

    def _pause_seconds(self) -> float:
        """Seconds until the next check; long ones, for an agent of many servers has as many probes."""
        if self._attempt is not None:
            return _SHORTEST_PAUSE
        due = self._began + self._interval - time.monotonic() if self._interval else _LONGEST_PAUSE
        return min(max(due, _SHORTEST_PAUSE), _LONGEST_PAUSE)

    async def _begin_attempt(self) -> None:
        self._began = time.monotonic()
        try:
            self._attempt = LoginAttempt(await self._read_dsn(), self._deadline)
        except ServerError as error:
            self._note_failure(str(error))

    async def _follow_attempt(self, attempt: LoginAttempt) -> None:
        """Wait for the end of an attempt, for as long as the deadline each time."""
        try:
            connection = await attempt.await_connection()
        except ServerError as error:
            if error.state not in _OWN_LIMIT:
                self._note_failure(str(error))
            if attempt.is_over or error.state != _HANGS:
                self._drop_attempt()
        except Exception as error:
            log.exception("login probe failed")
            self._note_failure(f"internal error: {type(error).__name__}")
            self._drop_attempt()
        else:
            connection.pgconn.finish()
            if self._attempt is attempt:
                self._attempt = None
                self._note_success(time.monotonic() - self._began)

    def _note_failure(self, error: str) -> None:
        if self._error is None:
            self._failing_since = self._began
            log.warning("login failed", extra={"error": error})
        self._error = error

    def _note_success(self, seconds: float) -> None:
        self._seconds = seconds
        if self._error is not None:
            log.info("login works again")
        self._error = None

    def _drop_attempt(self) -> None:
        if self._attempt is not None:
            self._attempt.abandon()
            self._attempt = None
