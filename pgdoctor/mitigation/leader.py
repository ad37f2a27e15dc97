"""Which of several agents at one server acts: the one whose connection holds the leader lock.

It is a session's advisory lock, taken on the very connection that signals: who loses the connection loses the right
with it, and the statement that signals looks at the lock again. The server knows such a lock by its database, so of two
agents in two databases both would get it. Therefore whoever has got it looks whether anybody else has, and gives it
back if so: who comes second sees the first, and two never lead.

What a former leader on another machine has done the new one does not know, for journals are not shared; therefore
`startup_grace` begins anew with the lead.
"""

import random
import time
from datetime import datetime

from pgdoctor.mitigation.rules import Mode
from pgdoctor.postgres.door import Door
from pgdoctor.postgres.signal import LEADER_KEY

#: The lock of those who lead a dry run: an agent that only rehearses does not keep anybody from acting.
REHEARSAL_KEY = LEADER_KEY + 1

#: Seconds between two attempts: at random, so that two who gave way to each other do not do so again.
_PAUSE = (0.5, 2.0)


class Leader:
    """Leads on one connection, or tries to. Raises ServerError where the server cannot be asked."""

    def __init__(self) -> None:
        #: Since when it leads, on the server's clock; None: it does not.
        self.since: datetime | None = None
        self._door: Door | None = None
        #: What this connection has, or may have after an attempt that failed.
        self._key: int | None = None
        self._next_attempt = 0.0

    @property
    def leads(self) -> bool:
        """Whether it leads, as far as is known."""
        return self.since is not None and self._door is not None and self._door.is_open

    async def lead(self, door: Door, mode: Mode, now: datetime) -> bool:
        """Whether it leads on this connection in that mode; tries to get there now and then. `now`: the server's."""
        key = LEADER_KEY if mode == "enforce" else REHEARSAL_KEY
        if door is not self._door:
            self._door, self._key, self.since, self._next_attempt = door, None, None, 0.0
        if self.since is not None and key == self._key:
            return self.leads
        await self.resign()
        if time.monotonic() < self._next_attempt:
            return False
        self._next_attempt = time.monotonic() + random.uniform(*_PAUSE)
        self._key = key
        if not (await door.fetch("lead", key=key))[0].held or await door.fetch("leaders", key=key):
            await self.resign()
            return False
        self.since = now
        return True

    async def resign(self) -> None:
        """Let others lead."""
        self.since = None
        if self._door is not None and self._door.is_open and self._key is not None:
            await self._door.fetch("resign")
            self._key = None
