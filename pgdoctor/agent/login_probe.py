"""A login of the agent's own, every few seconds: sessions that are connected do not notice that nobody else can.

One attempt at a time, and each closes at once. One that hangs is neither broken off nor followed by another: the
server's process would go on waiting behind it, so each new attempt would take one more slot.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

from pgdoctor.diagnosis.snapshot import Login
from pgdoctor.errors import ServerError
from pgdoctor.postgres.door import log_in

log = logging.getLogger(__name__)

#: Connections that must be free before one is taken for this.
FREE_SLOTS = 3

#: States of a login that say nothing of other clients': the limit is that of our role.
_OWN_LIMIT = frozenset({"too_many_connections_for_role"})

#: Seconds between two looks at whether a probe is due.
_PAUSE = 0.2


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
        self._attempt: asyncio.Task[float] | None = None
        self._began = 0.0
        #: Seconds of the last login that ended well; why the last one failed, and when that began.
        self._seconds: float | None = None
        self._error: str | None = None
        self._failing_since = 0.0

    def reconfigure(self, interval: float, deadline: float, *, forget: bool) -> None:
        """Go on with other settings. `forget`: it is another server now."""
        self._interval, self._deadline = interval, deadline
        if forget:
            self._drop()
            self._began, self._seconds, self._error = time.monotonic(), None, None

    @property
    def result(self) -> Login | None:
        """What is known now; None where it is switched off."""
        if not self._interval:
            return None
        now = time.monotonic()
        if self._error is None:
            return Login(self._seconds)
        hangs = self._attempt is not None and now - self._began > self._deadline
        error = f"the login has not ended for {now - self._began:.0f} s" if hangs else self._error
        return Login(self._seconds, error, max(now - self._failing_since, 0.0))

    async def run(self) -> None:
        """Probe until cancelled; the first time after one interval, for the agent itself has just logged in."""
        self._began = time.monotonic()
        try:
            while True:
                if self._interval and time.monotonic() - self._began >= self._interval and self._may_run():
                    await self._probe()
                await asyncio.sleep(_PAUSE)
        finally:
            self._drop()

    async def _probe(self) -> None:
        self._began = time.monotonic()
        attempt = self._attempt = asyncio.create_task(self._log_in())
        await asyncio.wait({attempt}, timeout=self._deadline)
        if not attempt.done():
            self._fail("the login does not end")
            await asyncio.wait({attempt})
        if self._attempt is not attempt:
            return
        self._attempt = None
        try:
            self._seconds = attempt.result()
        except ServerError as error:
            if error.state not in _OWN_LIMIT:
                self._fail(str(error))
        except Exception as error:
            log.exception("login probe failed")
            self._fail(f"internal error: {type(error).__name__}")
        else:
            self._recover()

    async def _log_in(self) -> float:
        dsn = await self._read_dsn()
        began = time.monotonic()
        await log_in(dsn)
        return time.monotonic() - began

    def _fail(self, error: str) -> None:
        if self._error is None:
            self._failing_since = self._began
            log.warning("login failed", extra={"error": error})
        self._error = error

    def _recover(self) -> None:
        if self._error is not None:
            log.info("login works again")
        self._error = None

    def _drop(self) -> None:
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            with suppress(RuntimeError):
                attempt.cancel()
