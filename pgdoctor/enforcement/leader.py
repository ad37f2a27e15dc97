"""Which of several agents at one server acts: the one whose session holds the leader lock.

The leader lock is a session's advisory lock, taken on the connection that signals. An agent that loses its connection
loses leadership, and the signal statement checks the lock again.

Three facts shape the protocol:

- The server knows an advisory lock by its database. Two agents in two databases can both get the same key. Therefore
  an agent looks at the locks of all databases after it got its own.
- Any role may take any advisory lock. Therefore only sessions of our own role and application name count as
  contenders, and those of roles that may signal us anyway. Only the first half of the key is fixed. When a stranger
  holds the usual key in our database the leader takes another one: no role can lock 2^30 keys in advance.
- Contenders try at the same moment. Each reads first, and does nothing while another one leads, claims or waits. Then
  it takes two more advisory locks with random keys, a place in the queue and a claim, and looks again. A contender
  that sees a leader, or a contender of a smaller PID, gives everything back. A contender that sees another claim gives
  its claim back, and keeps its place. A contender that sees neither takes the leader lock. At the next poll a contender
  with a place looks before it claims again.

There are never two leaders: a leader holds its claim until it resigns. Of two claims the second was held before its
owner looked, so its owner has seen the first. There is always one after two polls, however slow a statement is: after
the first poll the contender of the smallest PID has its place, and there is no claim, or there is a leader. At the
second poll all others see that place before they would claim.

A new leader does not know what the former one has done on another machine, because journals are not shared. Therefore
`startup_grace` starts again with leadership.
"""

import secrets
import time
from collections.abc import Sequence
from datetime import datetime

import msgspec

from pgdoctor.mitigation.rules import Mode
from pgdoctor.postgres.connection import Connection
from pgdoctor.postgres.dsn import APPLICATION_NAME
from pgdoctor.postgres.rows import read_row
from pgdoctor.postgres.signal import LEADER_KEY

#: The lock of the leader of a dry run: an agent that only rehearses does not keep others from acting.
REHEARSAL_KEY = LEADER_KEY + 1

#: Seconds between two checks of a leader for the locks of others. Each signal's statement checks too; reading 40,000
#: locks in each poll would cost the server as much as a poll.
_LOOK_AGAIN = 5.0

#: What a lock means stands in its key, behind the bit that tells a dry run.
_CLAIMS, _LEADS, _WAITS = 0, 1, 2


class ElectionLock(msgspec.Struct, frozen=True):
    """An advisory lock of a pgdoctor that leads, claims leadership or waits for its turn (`leaders.sql`)."""

    pid: int
    is_own: bool
    #: Its PID is smaller than ours.
    outranks: bool
    #: The second half of its key.
    number: int
    #: What the lock means: `_CLAIMS`, `_LEADS` or `_WAITS`.
    stage: int
    has_own_role: bool
    client_addr: str | None


class LeaderElection:
    """Leads on one connection, or tries to. Raises ServerError where the server cannot be asked."""

    def __init__(self) -> None:
        #: Since when it leads, on the server's clock; None: it does not.
        self.since: datetime | None = None
        #: The other pgdoctor that leads or contends, in words, as of the last attempt; None: there was none.
        self.rival: str | None = None
        self._connection: Connection | None = None
        self._key = LEADER_KEY
        #: This connection has locks, or may have some after an attempt that failed.
        self._may_hold = False
        #: When a leader checks the locks of others again, on the monotonic clock.
        self._next_check = 0.0

    @property
    def leads(self) -> bool:
        """Whether it leads, as far as is known."""
        return self.since is not None and self._connection is not None and self._connection.is_open

    async def try_to_lead(self, connection: Connection, mode: Mode, now: datetime) -> bool:
        """Whether it leads on this connection in that mode; tries to. `now`: the server's clock."""
        key = LEADER_KEY if mode == "enforce" else REHEARSAL_KEY
        if connection is not self._connection:
            self._connection, self.since, self._may_hold = connection, None, False
        elif key != self._key:
            await self.resign_leadership()
        self._key = key
        if self.leads and time.monotonic() < self._next_check:
            return True
        self._next_check = time.monotonic() + _LOOK_AGAIN
        if not (connection.is_open and await self._take_step(connection)):
            self.since = None
        elif self.since is None:
            self.since = now
        return self.leads

    async def resign_leadership(self) -> None:
        """Let others lead."""
        self.since = None
        if self._may_hold and self._connection is not None and self._connection.is_open:
            await self._connection.fetch("release_leader_lock")
        self._may_hold = False

    async def _take_step(self, connection: Connection) -> bool:
        """Whether this session leads after another step."""
        mine, others = await self._fetch_holders(connection)
        if _has_stage(mine, _LEADS) and not _has_stage(others, _LEADS):
            return True
        if _must_withdraw(others) or (others and not mine):
            await self.resign_leadership()
            return False
        self._may_hold = True
        if not (_has_stage(mine, _WAITS) or await self._take_lock(connection, self._random_key(_WAITS))):
            return False
        if not (_has_stage(mine, _CLAIMS) or await self._take_lock(connection, self._random_key(_CLAIMS))):
            return False
        mine, others = await self._fetch_holders(connection)
        if _must_withdraw(others):
            await self.resign_leadership()
            return False
        if _has_stage(others, _CLAIMS):
            for claim in mine:
                if claim.stage == _CLAIMS:
                    await connection.fetch("release_advisory_lock", key=self._key >> 32 << 32 | claim.number)
            return False
        return await self._take_the_lead(connection)

    async def _take_the_lead(self, connection: Connection) -> bool:
        """Take the leader lock, by its usual key, or by another one if that is taken."""
        if not (
            await self._take_lock(connection, self._key) or await self._take_lock(connection, self._random_key(_LEADS))
        ):
            return False
        # An older pgdoctor makes no claim: it only checks whether another session has the leader lock.
        _, others = await self._fetch_holders(connection)
        if _has_stage(others, _LEADS):
            await self.resign_leadership()
            return False
        return True

    async def _fetch_holders(self, connection: Connection) -> tuple[list[ElectionLock], list[ElectionLock]]:
        """The locks of those who lead, claim or wait in our mode, in whatever database: ours, and those of others."""
        rows = await connection.fetch("leaders", key=self._key, own_application=APPLICATION_NAME)
        locks = [read_row(ElectionLock, row) for row in rows]
        others = sorted((lock for lock in locks if not lock.is_own), key=lambda lock: lock.stage != _LEADS)
        self.rival = _describe_holder(others[0]) if others else None
        return [lock for lock in locks if lock.is_own], others

    async def _take_lock(self, connection: Connection, key: int) -> bool:
        return bool((await connection.fetch("acquire_leader_lock", key=key))[0].held)

    def _random_key(self, stage: int) -> int:
        """A key whose first half, and whose mode, are those of the leader lock."""
        return self._key >> 32 << 32 | secrets.randbits(29) << 3 | stage << 1 | self._key & 1


def _has_stage(holders: Sequence[ElectionLock], stage: int) -> bool:
    return any(each.stage == stage for each in holders)


def _must_withdraw(others: Sequence[ElectionLock]) -> bool:
    """Whether another pgdoctor leads, or has precedence."""
    return any(each.stage == _LEADS or each.outranks for each in others)


def _describe_holder(holder: ElectionLock) -> str:
    """A pgdoctor that leads, or is about to, in words."""
    where = f" from {holder.client_addr}" if holder.client_addr else ""
    role = "" if holder.has_own_role else ", of another role,"
    return f"PID {holder.pid}{where}{role} {'is the leader' if holder.stage == _LEADS else 'contends for leadership'}"
