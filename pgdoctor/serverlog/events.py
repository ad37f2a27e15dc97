"""What the log says, event by event; times are the log's."""

from datetime import datetime

import msgspec

#: How a wait ended, by what the log says of it.
ACQUIRED = "acquired"
DEADLOCK = "deadlock"
UNSEEN = "end_not_in_log"
#: A waiter made a worker of autovacuum give up its lock.
AUTOVACUUM_CANCELED = "autovacuum_canceled"


class Origin(msgspec.Struct, frozen=True, gc=False):
    """The process that wrote an entry, and what it ran; None: the log does not say."""

    at: datetime
    pid: int
    user: str | None = None
    database: str | None = None
    application: str | None = None
    client: str | None = None
    backend_type: str | None = None
    #: As the client sent it, and the one inside of a function that ran. With their values: never shown as they are.
    statement: str | None = None
    inner: str | None = None
    #: The function that ran `inner`.
    function: str | None = None
    #: The table whose row it was about, or that a worker of autovacuum worked on, without its schema.
    relation: str | None = None


class LockWait(msgspec.Struct, frozen=True, gc=False):
    """A process has waited for a lock for so long, and still waits; or a deadlock ends its wait."""

    origin: Origin
    mode: str
    #: The lock as the server describes it: `relation 16389 of database 16387`.
    target: str
    seconds: float
    #: The server has found a deadlock that it is part of, and ends it.
    in_deadlock: bool = False
    #: The log does not say for how long.
    is_of_unknown_length: bool = False
    #: PIDs that hold the lock in any mode; 0 is a prepared transaction.
    holders: tuple[int, ...] = ()
    #: PIDs that wait for it, in their order.
    queue: tuple[int, ...] = ()


class LockAcquired(msgspec.Struct, frozen=True, gc=False):
    """A process has got a lock for which it had waited for so long."""

    origin: Origin
    mode: str
    target: str
    seconds: float


class StatementEnded(msgspec.Struct, frozen=True, gc=False):
    """A process gave up, or was made to: `how` is one of the values of `messages.ENDINGS`."""

    origin: Origin
    how: str
    #: Its context shows that it waited for a row.
    is_of_a_row: bool = False


class CircleMember(msgspec.Struct, frozen=True, gc=False):
    """A process of a deadlock, as the report names it."""

    pid: int
    mode: str
    target: str
    blocked_by: int
    statement: str | None = None


class LoggedDeadlock(msgspec.Struct, frozen=True, gc=False):
    """A deadlock report. Its origin is the victim."""

    origin: Origin
    members: tuple[CircleMember, ...]


class LoggedActivity(msgspec.Struct, frozen=True, gc=False):
    """What else a process wrote: a statement that began or ended then, or the end of its session."""

    origin: Origin
    #: None: it says nothing of a statement.
    statement: str | None = None
    #: For how long it had run; None: it begins, or the log does not say.
    seconds: float | None = None
    #: Why the session ended; None: it goes on.
    end: str | None = None


class ServerStopped(msgspec.Struct, frozen=True, gc=False):
    """The server has stopped, or starts again: nothing waits any more."""

    at: datetime
    #: It stopped at that moment; if not, at any moment before.
    is_exact: bool = False


Event = LockWait | LockAcquired | StatementEnded | LoggedDeadlock | LoggedActivity | ServerStopped
