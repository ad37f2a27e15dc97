"""Who may hold a row together with the session that a waiter is seen to wait for.

Several transactions can hold a row at once: FOR SHARE, and FOR KEY SHARE, which is the check of a foreign key. A waiter
waits for them one after the other, and the server names only the one of the moment (measured, 14 and 18). Where others
may hold the row, the end of that one may release no session.

The mode in which a waiter wants the row is the mode of its tuple lock. Which modes exclude each other (PostgreSQL
documentation, "Row-Level Locks"): UPDATE excludes all; NO KEY UPDATE, that of an ordinary UPDATE, excludes all but
KEY SHARE; SHARE excludes both UPDATE modes; KEY SHARE excludes UPDATE alone. So several can only block UPDATE (KEY
SHAREs, SHAREs, and one NO KEY UPDATE) and of NO KEY UPDATE (SHAREs).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

import msgspec

from pgdoctor.model.snapshot import Lock, PreparedTransaction, RowLocker, Session, Snapshot
from pgdoctor.sqltext import statement
from pgdoctor.sqltext.lexer import Token, scan_tokens
from pgdoctor.sqltext.shape import ByShape

#: A table: the OIDs of its database and of itself.
Table = tuple[int, int]

#: Tables that are asked about: a waiter without a tuple lock may have locked many.
MOST_TABLES = 100

#: Shapes of texts whose words are remembered.
_CACHED = 256

_UPDATE = "AccessExclusiveLock"
_NO_KEY_UPDATE = "ExclusiveLock"

_ROW_MODES = ("RowShareLock", "RowExclusiveLock")

#: Relations below are the system's own.
_FIRST_USER_OID = 16_384

#: In what follows FOR, the longest first.
_STRENGTHS = (("no", "key", "update"), ("key", "share"), ("update",), ("share",))


class WantedRow(msgspec.Struct, frozen=True, gc=False):
    """A row that a session waits for: the mode of its tuple lock, and the table, or all that it may be of."""

    mode: str
    tables: frozenset[Table]


def find_wanted_row(waiter: Session) -> WantedRow | None:
    """The row that a session waits for in a mode that several sessions may block; None: it waits for no such row."""
    if not any(lock.locktype == "transactionid" for lock in waiter.requests):
        return None
    rows = [lock for lock in waiter.held if lock.locktype == "tuple"]
    if rows:
        # Once a row has changed hands those who wait for it have no tuple lock.
        strongest = max(rows, key=lambda lock: lock.mode == _UPDATE)
        mode: str | None = strongest.mode if strongest.mode in (_UPDATE, _NO_KEY_UPDATE) else None
        tables = _list_tables([strongest])
    else:
        mode = _guessed_mode(waiter.statement or "")
        tables = _list_tables(lock for lock in waiter.held if lock.locktype == "relation" and lock.mode in _ROW_MODES)
    return WantedRow(mode, frozenset(islice(tables, MOST_TABLES))) if mode else None


def find_wanted_tables(sessions: Iterable[Session]) -> tuple[Table, ...]:
    """The tables on which a session waits for a row that several may hold."""
    wanted = (find_wanted_row(session) for session in sessions)
    return tuple(islice(dict.fromkeys(table for row in wanted if row for table in sorted(row.tables)), MOST_TABLES))


def read_row_words(text: str) -> frozenset[str]:
    """What a statement says of rows: `update`, `no key update`, `share`, `key share` after FOR; `insert`, `delete`."""
    return _row_words(text)


def _read_words(text: str, _truncated: bool = False) -> frozenset[str]:
    found = {statement.read_statement(text).kind} & {"insert", "delete"}
    tokens = list(scan_tokens(text))
    for place, token in enumerate(tokens):
        if token.is_word("for"):
            found.update(
                " ".join(words) for words in _STRENGTHS if _match_words(tokens[place + 1 :][: len(words)], words)
            )
    return frozenset(found)


class CoHolders:
    """Sessions that may hold the rows of one holder too, and block its waiters."""

    def __init__(
        self, holder: Session | PreparedTransaction, snapshot: Snapshot, stands_behind: Callable[[int], bool]
    ) -> None:
        self._holder = holder
        self._snapshot = snapshot
        #: A session that waits for the holder cannot move before it, and follows in turn.
        self._stands_behind = stands_behind
        self._found: dict[tuple[str, Table], tuple[RowLocker, ...]] = {}

    def find_lockers(self, waiter: Session) -> tuple[RowLocker, ...]:
        """Sessions that may also hold the row that this session waits for."""
        if not self._snapshot.row_lockers or (row := find_wanted_row(waiter)) is None:
            return ()
        return tuple(locker for table in sorted(row.tables) for locker in self._find_on(row.mode, table))

    def _find_on(self, mode: str, table: Table) -> tuple[RowLocker, ...]:
        if (mode, table) not in self._found:
            candidates = _Contest(self._holder, mode, table, self._snapshot).find_candidates()
            self._found[mode, table] = tuple(each for each in candidates if self._is_rival(each))
        return self._found[mode, table]

    def _is_rival(self, locker: RowLocker) -> bool:
        if locker.pid == self._snapshot.server.own_pid or _is_same(locker, self._holder):
            return False
        return locker.pid is None or not self._stands_behind(locker.pid)


class _Contest:
    """A holder of a row of a table, and a waiter that wants it in this mode."""

    def __init__(self, holder: Session | PreparedTransaction, mode: str, table: Table, snapshot: Snapshot) -> None:
        self.mode = mode
        self.table = table
        self._snapshot = snapshot
        self._own = frozenset({table[1]}) | {oid for oid, each in snapshot.relations.items() if each.table == table[1]}
        locks = [
            lock
            for lock in holder.locks
            if lock.granted and lock.locktype == "relation" and lock.mode in _ROW_MODES and _is_of_users(lock)
        ]
        here = {lock.mode for lock in locks if (lock.database, lock.relation) == table}
        self._locks_rows = "RowShareLock" in here
        self._changes_rows = "RowExclusiveLock" in here
        self._is_only_here = all(lock.relation in self._own for lock in locks)
        self._writes_only_here = all(lock.relation in self._own for lock in locks if lock.mode == "RowExclusiveLock")
        text = holder.statement or "" if isinstance(holder, Session) else ""
        self._says = read_row_words(text)
        if isinstance(holder, PreparedTransaction):
            self._take_from_lockers(holder)

    def _take_from_lockers(self, holder: PreparedTransaction) -> None:
        """The table locks of a prepared transaction are read with those of all who may have locked rows."""
        own = [each for each in self._snapshot.row_lockers if _is_same(each, holder)]
        here = [each for each in own if (each.database, each.relation) == self.table]
        self._locks_rows = any(each.locks_rows for each in here)
        self._changes_rows = any(each.changes_rows for each in here)
        self._is_only_here = self._writes_only_here = all(each.others <= self._own for each in here)

    def find_candidates(self) -> Iterator[RowLocker]:
        """Sessions that may hold the row beside the holder, in a conflicting mode."""
        if self._is_alone():
            return
        for locker in self._snapshot.row_lockers:
            if (locker.database, locker.relation) == self.table and self._may_hold_too(locker):
                yield locker

    def _is_alone(self) -> bool:
        """The holder's lock on the row excludes another blocker of it.

        FOR UPDATE and DELETE hold a row alone; this one, where it has locked rows of no
        other table.
        """
        if not (self._locks_rows or self._changes_rows):
            return True
        if self.mode == _UPDATE:
            # A DELETE has locked rows of the tables that reference this one.
            has_deleted = self._writes_only_here and "delete" in self._says
            return has_deleted or (self._is_only_here and "update" in self._says)
        if not self._locks_rows:
            return True
        if self._changes_rows:
            return "share" not in self._says
        return self._is_only_here and not self._says.isdisjoint({"update", "no key update"})

    def _may_hold_too(self, locker: RowLocker) -> bool:
        is_only_here = locker.others <= self._own
        if is_only_here and "update" in locker.says:
            return False  # It has a row for itself: another one.
        if self.mode == _NO_KEY_UPDATE:
            return locker.locks_rows and not (is_only_here and "no key update" in locker.says)
        if self._has_changed_the_row():
            # KEY SHARE alone goes with that: the check of a foreign key, by a write to another table, or to this one.
            shares = not locker.says.isdisjoint({"key share", "share", "insert"})
            return locker.locks_rows and (shares or not is_only_here)
        return locker.locks_rows or locker.changes_rows

    def _has_changed_the_row(self) -> bool:
        """It has written to this table, and has no share of a row of it as far as its locks and its words show."""
        may_share = self._locks_rows and not (
            self._is_only_here and self._says.isdisjoint({"insert", "share", "key share"})
        )
        return self._changes_rows and not may_share


def _guess_mode(text: str, _truncated: bool = False) -> str | None:
    """The mode in which a session without a tuple lock wants a row, by its statement; None: several may grant it."""
    kind, words = statement.read_statement(text).kind, read_row_words(text)
    if kind == "insert":
        return _NO_KEY_UPDATE if any(token.is_word("conflict") for token in scan_tokens(text)) else None
    if kind == "update":
        return _NO_KEY_UPDATE
    if kind == "select" and words and "update" not in words:
        return _NO_KEY_UPDATE if "no key update" in words else None
    return _UPDATE


def _is_same(locker: RowLocker, holder: Session | PreparedTransaction) -> bool:
    if isinstance(holder, Session):
        return locker.pid == holder.pid
    return locker.pid is None and locker.gid is not None and locker.gid == holder.gid


def _match_words(tokens: Sequence[Token], words: tuple[str, ...]) -> bool:
    return len(tokens) == len(words) and all(token.is_word(word) for token, word in zip(tokens, words, strict=True))


def _is_of_users(lock: Lock) -> bool:
    return lock.relation is not None and lock.relation >= _FIRST_USER_OID


def _list_tables(locks: Iterable[Lock]) -> list[Table]:
    return [
        (lock.database, lock.relation)
        for lock in locks
        if lock.database is not None and lock.relation is not None and _is_of_users(lock)
    ]


# Those who wait for the same row often say the same.
_row_words = ByShape(_read_words, _CACHED)
_guessed_mode = ByShape(_guess_mode, _CACHED)
