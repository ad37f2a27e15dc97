"""What all sessions of a server do at a moment, blocked or not: for the live view, never for a decision."""

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

import msgspec


class DatabaseCounters(NamedTuple):
    """What a database has counted since its statistics began."""

    #: Committed and rolled back.
    transactions: int
    deadlocks: int


class ProcessUsage(NamedTuple):
    """What the process of a session takes from its machine; None: not known, or not yet."""

    #: Percent of one core, since the reading before.
    cpu: float | None = None
    #: Bytes of memory, without what it shares with others.
    memory: int | None = None
    #: Bytes a second from and to storage, since the reading before.
    read: float | None = None
    written: float | None = None


class MachineUsage(msgspec.Struct, frozen=True):
    """What sessions take from the machine of the server, where that is ours."""

    #: By PID.
    processes: Mapping[int, ProcessUsage] = {}
    #: The load average of the last minute.
    load: float | None = None


class ActiveSession(msgspec.Struct, frozen=True):
    """A session as `pg_stat_activity` shows it; None: hidden by missing privileges, or not so."""

    pid: int
    database: str | None = None
    user: str | None = None
    application: str | None = None
    client: str | None = None
    backend_type: str | None = None
    state: str | None = None
    wait_event_type: str | None = None
    wait_event: str | None = None
    backend_start: datetime | None = None
    xact_start: datetime | None = None
    query_start: datetime | None = None
    state_change: datetime | None = None
    statement: str | None = None


class Activity(msgspec.Struct, frozen=True):
    """The sessions of a server, less our own."""

    #: By the server's clock.
    captured_at: datetime
    sessions: tuple[ActiveSession, ...] = ()
    #: With those that were not read.
    all_sessions: int = 0
    #: Of the databases that sessions are connected to, by OID.
    counters: Mapping[int, DatabaseCounters] = {}
    #: Transactions of the session that reads this, since it began.
    own_transactions: int = 0
    #: The process of that session, and when it began.
    own_pid: int | None = None
    own_start: datetime | None = None

    def seconds_since(self, moment: datetime | None) -> float | None:
        """Seconds from a moment to this reading; None for None."""
        return None if moment is None else max((self.captured_at - moment).total_seconds(), 0.0)


class ActivityRates(msgspec.Struct, frozen=True):
    """What has been counted from one reading to the next; None: not known yet."""

    transactions_per_second: float | None = None
    #: Since the first reading.
    deadlocks: int = 0
