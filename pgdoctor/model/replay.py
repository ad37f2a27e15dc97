"""Replay on a standby: what the startup process waits for, and the sessions that may hold it up."""

from datetime import datetime

import msgspec


class ReplayHolder(msgspec.Struct, frozen=True, gc=False):
    """A session that replay waits for, or may wait for."""

    pid: int
    user: str | None = None
    database: str | None = None
    application: str | None = None
    address: str | None = None
    state: str | None = None
    #: Of its transaction.
    since: datetime | None = None
    #: Without its values.
    statement: str | None = None
    #: The strongest lock that it holds on what replay wants to lock.
    mode: str | None = None
    #: Transaction ids that were given out since its snapshot; None: it has none.
    xids: int | None = None

    @property
    def is_idle(self) -> bool:
        """It has a transaction open and runs nothing: the server terminates it where it would cancel a statement."""
        return (self.state or "").startswith("idle in transaction")


class Replay(msgspec.Struct, frozen=True):
    """The startup process of a standby. Delays are in seconds, None: for ever; sizes are in bytes."""

    pid: int
    wait_event_type: str | None
    wait_event: str | None
    #: The end of what is replayed.
    lsn: str | None
    #: Received and not replayed; None: nothing was received since the server started.
    unreplayed: int | None
    #: When the last replayed transaction was committed, on the primary's clock.
    last_commit: datetime | None
    #: A WAL receiver is connected: `streaming_delay` counts, else `archive_delay`.
    is_streaming: bool
    streaming_delay: float | None
    archive_delay: float | None
    hot_standby_feedback: bool
    is_paused: bool = False
    #: What it waits to lock: the relation's OID, its database and, of the connected database, its name.
    relation: int | None = None
    database: int | None = None
    relation_name: str | None = None
    #: Since when it has waited for that lock.
    lock_since: datetime | None = None
    #: The oldest first, and how many there are in all.
    holders: tuple[ReplayHolder, ...] = ()
    holders_total: int = 0
    #: From memory: the first of the snapshots in a row that show it in this wait, with nothing replayed since.
    seen_since: datetime | None = None

    @property
    def conflict(self) -> str | None:
        """What it waits for sessions to release: lock, snapshot, buffer_pin or tablespace; None: nothing."""
        return find_conflict(self.wait_event_type, self.wait_event)

    @property
    def delay(self) -> float | None:
        """How long it waits for a session before the server cancels that, counted from the receipt of the WAL."""
        return self.streaming_delay if self.is_streaming else self.archive_delay

    @property
    def delay_setting(self) -> str:
        """The setting that says so."""
        return "max_standby_streaming_delay" if self.is_streaming else "max_standby_archive_delay"

    @property
    def since(self) -> datetime | None:
        """Since when it has waited for certain; None where one snapshot alone does not show it."""
        return min((each for each in (self.lock_since, self.seen_since) if each is not None), default=None)


_CONFLICTS = {"RecoveryConflictSnapshot": "snapshot", "RecoveryConflictTablespace": "tablespace"}
_CONFLICT_TYPES = {"Lock": "lock", "BufferPin": "buffer_pin"}


def find_conflict(wait_event_type: str | None, wait_event: str | None) -> str | None:
    """What the startup process waits for sessions to release, by its wait event; None: it waits for no session."""
    return _CONFLICTS.get(wait_event or "") or _CONFLICT_TYPES.get(wait_event_type or "")
