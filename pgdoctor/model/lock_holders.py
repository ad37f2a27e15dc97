"""The sessions that hold or await a lock, even if none waits."""

from collections.abc import Mapping
from datetime import datetime

import msgspec

from pgdoctor.model.advisory_key import AdvisoryKey
from pgdoctor.model.snapshot import Lock, LockedObject, PreparedTransaction, Relation, ServerInfo, Session


class LockTarget(msgspec.Struct, frozen=True):
    """What was asked about: a relation with all that belongs to it, an advisory key, or a session."""

    #: relation, advisory or session.
    kind: str
    name: str
    #: The relation first, then its partitions, indexes and toast tables, by OID.
    relations: Mapping[int, Relation] = {}
    #: Advisory keys, and objects that are no relations: the catalog's OID, their own, and 0.
    keys: tuple[AdvisoryKey, ...] = ()
    #: Transactions, by id.
    transactions: tuple[int, ...] = ()
    pid: int | None = None


class ListedLock(msgspec.Struct, frozen=True):
    """A lock, and whose it is: a session's by its PID, a parallel worker's by that of its leader."""

    lock: Lock
    pid: int | None
    #: Of a prepared transaction.
    gid: str | None
    is_fast_path: bool
    #: The name of the lock's database.
    database: str | None


class LockHolders(msgspec.Struct, frozen=True):
    """The locks that were asked for, those who have them, and those for whom these wait."""

    captured_at: datetime
    server: ServerInfo
    target: LockTarget
    locks: tuple[ListedLock, ...]
    locks_total: int
    #: By PID: who holds or awaits one of the locks, and for whom they wait.
    sessions: Mapping[int, Session]
    prepared: tuple[PreparedTransaction, ...] = ()
    #: Of all locks.
    relations: Mapping[int, Relation] = {}
    #: Objects that are no relations, where their names are known.
    objects: tuple[LockedObject, ...] = ()
    unread: tuple[str, ...] = ()
