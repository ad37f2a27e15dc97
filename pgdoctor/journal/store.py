"""The journal's file: one SQLite database, to which records are only added. While an incident lasts, each record of a
snapshot replaces the previous one.

Several processes may use it at once: agents of different servers, and a command of an operator. An appended record is
on the disk when the call returns (write-ahead log, `synchronous = FULL`). Records of different servers are separated
by system identifier. Only the owner may read the file. Callers redact statements before they write them.

The file has a size limit. Near it the oldest snapshots are deleted: first all but the biggest of each incident, then
records of incidents. All other records are kept until they are too old. If they alone fill the file, nothing more can
be written, and no session is signalled.
"""

import math
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Self, TypeVar

import msgspec

from pgdoctor.errors import JournalError
from pgdoctor.journal.location import MAX_SIZE
from pgdoctor.secret_file import find_writers

T = TypeVar("T")

#: Of the tables below. A file of a newer version is left alone.
VERSION = 1

#: Seconds for which another process may have the file.
_PATIENCE = 1.0

#: Bytes of the write-ahead log, beside the file; a reader who does not end keeps it from being emptied.
MAX_LOG = 16 * 1024 * 1024
_USUAL_LOG = 4 * 1024 * 1024

#: The part of the file that snapshots and incidents may fill together with all the rest; the space above is kept free
#: for decisions.
_SOFT = 0.9

#: Bytes that an action takes at most: its intent and its outcome.
ROOM = 64 * 1024

#: Kinds of records that make room for others.
EXPENDABLE = ("incident", "rehearsal", "imported")

#: Where the agent keeps which file it writes to: a copy of it has another place.
_WRITTEN = "written"

#: Bytes of a record beside its body, roughly.
_OVERHEAD = 200

#: Seconds between two measurements of the size of the lasting records.
_COUNTED = 60.0

#: Statements of those below that are run for one record.
_MOST_DELETES = 50

#: What makes room, the least telling first; each a few rows, the oldest first.
_DELETES = (
    """
    DELETE FROM snapshots WHERE id IN (
        SELECT id FROM snapshots AS one WHERE EXISTS (
            SELECT 1 FROM snapshots AS other
            WHERE other.incident = one.incident AND other.server = one.server
            AND (length(other.body), one.id) > (length(one.body), other.id))
        ORDER BY at LIMIT 16)
    """,
    "DELETE FROM snapshots WHERE id IN (SELECT id FROM snapshots ORDER BY at LIMIT 4)",
    f"""
    DELETE FROM records WHERE id IN (
        SELECT id FROM records WHERE kind IN ({", ".join(f"'{kind}'" for kind in EXPENDABLE)})
        AND id <> (SELECT max(id) FROM records) ORDER BY at LIMIT 64)
    """,  # noqa: S608
)

_TABLES = """
CREATE TABLE records (
    id INTEGER PRIMARY KEY,
    server TEXT NOT NULL,
    at REAL NOT NULL,
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    body BLOB NOT NULL
) STRICT;
CREATE INDEX records_by_subject ON records (subject);
CREATE INDEX records_by_time ON records (at);
CREATE TABLE snapshots (
    id INTEGER PRIMARY KEY,
    server TEXT NOT NULL,
    incident TEXT NOT NULL,
    at REAL NOT NULL,
    body BLOB NOT NULL
) STRICT;
CREATE INDEX snapshots_by_incident ON snapshots (incident);
CREATE INDEX snapshots_by_time ON snapshots (at);
CREATE TABLE memories (
    server TEXT NOT NULL,
    name TEXT NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (server, name)
) STRICT;
"""


class JournalRecord(msgspec.Struct, frozen=True):
    """Something that happened. `body` is a JSON object; `id` grows in the order of writing."""

    id: int
    #: The system identifier of the server that it is about.
    server: str
    #: The server's clock, to the microsecond.
    at: datetime
    kind: str
    #: The id of a decision or of an incident; or empty.
    subject: str
    body: bytes


class KeptValue(msgspec.Struct, frozen=True):
    """A snapshot of an incident, as the caller encoded it."""

    id: int
    server: str
    incident: str
    at: datetime
    body: bytes


class JournalUsage(msgspec.Struct, frozen=True):
    """How full a journal is, in bytes."""

    #: On the disk, with its write-ahead log.
    size: int
    #: What the file may take; the log may take MAX_LOG beside it.
    limit: int
    #: The part of the file that is in use.
    used: int
    #: What makes no room for anything: decisions and what people said.
    lasting: int


class Journal:
    """An open journal. Every method raises JournalError where the file cannot be used; any thread may call."""

    def __init__(self, connection: sqlite3.Connection, path: Path, max_size: int) -> None:
        self.path = path
        self._connection = connection
        self._lock = threading.Lock()
        self._max_size = 0
        self._page_size = int(connection.execute("PRAGMA page_size").fetchone()[0])
        self._lasting = (-math.inf, 0)
        self.set_max_size(max_size)
        #: The identity of this journal, which another file at the same path does not have.
        self.name = self._read_name()
        self._place = _file_place(path)
        #: What a reader has to know of the file, in words; None: it is whole.
        self.warning: str | None = None

    @classmethod
    def open_existing(cls, path: Path) -> Self:
        """Open a file that is there, for a reader. Raises JournalError where it has no tables.

        `warning` says so where it is a copy without the write-ahead log, which has the latest records.
        """
        has_log = _has_log(path)
        if not has_log and not _has_tables(path):
            raise JournalError(
                f"the journal {path} has no tables: it is empty, or a copy without {path.name}-wal; "
                "pgdoctor incidents backup FILE makes a whole copy"
            )
        journal = cls.open(path)
        written = journal.recall("", _WRITTEN)
        if written and written != _describe_place(path):
            if has_log:
                journal.remember("", _WRITTEN, b"")
            else:
                journal.warning = (
                    f"{path} is a copy of a journal that was being written, without {path.name}-wal: its latest "
                    "records may be missing; pgdoctor incidents backup FILE makes a whole copy"
                )
        return journal

    @classmethod
    def open(cls, path: Path, max_size: int = MAX_SIZE) -> Self:
        """Open the file, or make it, for its owner alone; folders above it too."""
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if path.is_symlink():
                raise JournalError(f"the journal {path} is a symbolic link: name the file itself")
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
            try:
                why = find_writers(os.fstat(descriptor))
            finally:
                os.close(descriptor)
            if why:
                raise JournalError(f"the journal {path} is not used: {why} {path}")
        except OSError as error:
            raise JournalError(f"the journal {path} cannot be opened: {error.strerror or error}") from None
        with _in_words(path):
            connection = sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False)
            try:
                _prepare_database(connection, path)
                return cls(connection, path, max_size)
            except BaseException:
                connection.close()
                raise

    @property
    def is_in_place(self) -> bool:
        """Whether who opens the journal now gets this file: it may have been moved away, replaced, or emptied."""
        return self._place is not None and self._place == _file_place(self.path)

    def fetch_last_id(self) -> int:
        """The id of the last record; 0: there is none."""
        return int(self._run_locked(lambda db: db.execute("SELECT ifnull(max(id), 0) FROM records").fetchall())[0][0])

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._connection.close()

    def begin_writing(self) -> None:
        """Keep that this file is written to from now on, so that a copy of it is known for one."""
        place = _describe_place(self.path)
        if self.recall("", _WRITTEN) != place:
            self.remember("", _WRITTEN, place)
        self.checkpoint()

    def end_writing(self) -> None:
        """Keep that all of it is in the file."""
        self.remember("", _WRITTEN, b"")
        self.checkpoint()

    def checkpoint(self) -> None:
        """Bring what is in the write-ahead log into the file, as far as no reader prevents it."""
        # On a full disk it fails, and loses nothing: the log keeps what it has.
        with suppress(JournalError):
            self._run_locked(lambda db: db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall())

    def backup(self, target: Path) -> None:
        """Copy all of it, as of one moment, into a file that is there and empty; it needs no log beside it."""

        def work(db: sqlite3.Connection) -> None:
            with closing(sqlite3.connect(target, isolation_level=None)) as copy:
                db.backup(copy)
                copy.execute("PRAGMA journal_mode = DELETE").fetchall()
                copy.execute("DELETE FROM memories WHERE name = ?", (_WRITTEN,)).fetchall()

        self._run_locked(work)

    def set_max_size(self, max_size: int) -> None:
        """Let the file take so many bytes from now on."""
        if max_size != self._max_size:
            pages = max_size // self._page_size
            self._run_locked(lambda db: db.execute(f"PRAGMA max_page_count = {pages}").fetchall())
            self._max_size = int(max_size)  # Not a kind of number that an archive cannot hold.

    def append(self, server: str, kind: str, subject: str, body: bytes, at: datetime, *, replacing: int = 0) -> int:
        """Write a record, and its id once it is on the disk; 0 where one of an incident finds no room.

        `replacing`: the id of a record of the same kind on the same subject that goes in the same transaction.
        Raises JournalError where any other finds none.
        """
        values = server, at.timestamp(), kind, subject, body
        insert = "INSERT INTO records (server, at, kind, subject, body) VALUES (?, ?, ?, ?, ?) RETURNING id"

        def work(db: sqlite3.Connection) -> int:
            has_room = self._make_room(db, len(body) + _OVERHEAD)
            if not has_room and kind in EXPENDABLE:
                return 0
            written = int(db.execute(insert, values).fetchall()[0][0])
            if replacing:
                delete = "DELETE FROM records WHERE id = ? AND server = ? AND kind = ? AND subject = ?"
                db.execute(delete, (replacing, server, kind, subject)).fetchall()
            return written

        return self._change_rows(work)

    def claim(self, server: str, kind: str, subject: str, body: bytes, at: datetime) -> bool:
        """Write a record, unless the server has one of that kind on that subject; whether it was written."""
        insert = (
            "INSERT INTO records (server, at, kind, subject, body) SELECT ?, ?, ?, ?, ? WHERE NOT EXISTS "
            "(SELECT 1 FROM records WHERE server = ? AND kind = ? AND subject = ?)"
        )
        values = server, at.timestamp(), kind, subject, body, server, kind, subject

        def work(db: sqlite3.Connection) -> bool:
            self._make_room(db, len(body) + _OVERHEAD)
            return db.execute(insert, values).rowcount > 0

        return self._change_rows(work)

    def fetch_records(
        self,
        server: str | None = None,
        *,
        kinds: Sequence[str] = (),
        subject: str | None = None,
        since: datetime | None = None,
        after: int = 0,
        most: int = -1,
    ) -> list[JournalRecord]:
        """Records in the order of writing: of a server, of some kinds, on a subject, from a time on, after an id.

        `most`: the first so many of them; -1: all.
        """
        wanted, values = ["id > ?"], list[object]([after])
        for column, value in (("server", server), ("subject", subject)):
            if value is not None:
                wanted.append(f"{column} = ?")
                values.append(value)
        if since is not None:
            wanted.append("at >= ?")
            values.append(since.timestamp())
        if kinds:
            wanted.append(f"kind IN ({', '.join('?' * len(kinds))})")
            values += kinds
        select = (
            f"SELECT id, server, at, kind, subject, body FROM records WHERE {' AND '.join(wanted)} ORDER BY id LIMIT ?"  # noqa: S608
        )
        rows = self._run_locked(lambda db: db.execute(select, (*values, most)).fetchall())
        return [
            JournalRecord(id, server, _to_moment(at), kind, subject, body)
            for id, server, at, kind, subject, body in rows
        ]

    def latest_records(self, kind: str, *, since: datetime, most: int) -> list[JournalRecord]:
        """The last record on each subject, in the order of writing: of a kind, from a time on, the latest `most`."""
        select = """
            SELECT id, server, at, kind, subject, body FROM records WHERE id IN (
                SELECT max(id) FROM records WHERE kind = ? AND at >= ?
                GROUP BY server, subject ORDER BY max(id) DESC LIMIT ?)
            ORDER BY id
            """
        values = (kind, since.timestamp(), most)
        rows = self._run_locked(lambda db: db.execute(select, values).fetchall())
        return [
            JournalRecord(id, server, _to_moment(at), kind, subject, body)
            for id, server, at, kind, subject, body in rows
        ]

    def keep(self, server: str, incident: str, body: bytes, at: datetime) -> bool:
        """Keep a snapshot of an incident; False where there is no room for it."""
        insert = "INSERT INTO snapshots (server, incident, at, body) VALUES (?, ?, ?, ?)"

        def work(db: sqlite3.Connection) -> bool:
            if not self._make_room(db, len(body) + _OVERHEAD):
                return False
            db.execute(insert, (server, incident, at.timestamp(), body)).fetchall()
            return True

        return self._change_rows(work)

    def fetch_kept(self, incident: str, server: str | None = None) -> list[KeptValue]:
        """The snapshots of an incident, in the order of writing."""
        select = (
            "SELECT id, server, incident, at, body FROM snapshots WHERE incident = ? AND server = ifnull(?, server)"
        )
        rows = self._run_locked(lambda db: db.execute(f"{select} ORDER BY id", (incident, server)).fetchall())
        return [KeptValue(id, server, incident, _to_moment(at), body) for id, server, incident, at, body in rows]

    def replace_incident(
        self,
        server: str,
        incident: str,
        records: Sequence[tuple[str, bytes, datetime]],
        snapshots: Sequence[tuple[bytes, datetime]],
    ) -> bool:
        """Write all of an incident in place of what is there of it; False where there is no room.

        `records`: kind, body and time of each, in order.
        """
        size = sum(len(body) + _OVERHEAD for _, body, _ in records)
        size += sum(len(body) + _OVERHEAD for body, _ in snapshots)
        insert = "INSERT INTO records (server, at, kind, subject, body) VALUES (?, ?, ?, ?, ?)"
        keep = "INSERT INTO snapshots (server, incident, at, body) VALUES (?, ?, ?, ?)"

        def work(db: sqlite3.Connection) -> bool:
            if not self._make_room(db, size):
                return False
            marks = [
                int(db.execute(f"SELECT ifnull(max(id), 0) FROM {table}").fetchone()[0])  # noqa: S608
                for table in ("records", "snapshots")
            ]
            db.executemany(insert, [(server, at.timestamp(), kind, incident, body) for kind, body, at in records])
            db.executemany(keep, [(server, incident, at.timestamp(), body) for body, at in snapshots])
            # Afterwards: SQLite gives the number of a deleted last record to the next one.
            delete = "DELETE FROM records WHERE server = ? AND subject = ? AND id <= ?"
            db.execute(delete, (server, incident, marks[0])).fetchall()
            delete = "DELETE FROM snapshots WHERE server = ? AND incident = ? AND id <= ?"
            db.execute(delete, (server, incident, marks[1])).fetchall()
            return True

        return self._change_rows(work)

    def kept_after(self, after: int, most: int) -> list[KeptValue]:
        """The first snapshots with an id above this one, in the order of writing."""
        select = "SELECT id, server, incident, at, body FROM snapshots WHERE id > ? ORDER BY id LIMIT ?"
        rows = self._run_locked(lambda db: db.execute(select, (after, most)).fetchall())
        return [KeptValue(id, server, incident, _to_moment(at), body) for id, server, incident, at, body in rows]

    def count_after(self, record: int, snapshot: int, kinds: Sequence[str]) -> int:
        """How many records of these kinds, and snapshots, have ids above these."""
        records = f"SELECT count(*) FROM records WHERE id > ? AND kind IN ({', '.join('?' * len(kinds))})"  # noqa: S608
        select = f"SELECT ({records}) + (SELECT count(*) FROM snapshots WHERE id > ?)"  # noqa: S608
        return int(self._run_locked(lambda db: db.execute(select, (record, *kinds, snapshot)).fetchall())[0][0])

    def remember(self, server: str, name: str, body: bytes) -> None:
        """Keep one value by name, in place of the one before."""
        upsert = "INSERT OR REPLACE INTO memories (server, name, body) VALUES (?, ?, ?)"
        self._run_locked(lambda db: db.execute(upsert, (server, name, body)).fetchall())

    def prove_room(self, server: str, name: str) -> None:
        """Write as much as an action takes, and keep an empty value of that name. Raises JournalError."""
        self.remember(server, name, bytes(ROOM))
        self.remember(server, name, b"{}")

    def recall(self, server: str, name: str) -> bytes | None:
        """The value of that name; None where there is none."""
        select = "SELECT body FROM memories WHERE server = ? AND name = ?"
        return next(
            (bytes(body) for (body,) in self._run_locked(lambda db: db.execute(select, (server, name)).fetchall())),
            None,
        )

    def forget(self, before: datetime, *, but: Sequence[str] = (), apart: str = "") -> int:
        """Delete records and snapshots of before that time, but no record of those kinds; how many.

        Servers whose identifier begins with `apart` keep theirs: imports have no age.

        Values stored by name stay. So does the last record: SQLite would give its number to the next record, and a
        process that has read up to that number would skip it.
        """
        spared = f"kind IN ({', '.join('?' * len(but))}) OR id = (SELECT max(id) FROM records)"  # noqa: S608
        old, values = "at < ? AND (? = '' OR substr(server, 1, ?) <> ?)", (before.timestamp(), apart, len(apart), apart)
        deletes = (
            (f"DELETE FROM records WHERE {old} AND NOT ({spared})", (*values, *but)),  # noqa: S608
            (f"DELETE FROM snapshots WHERE {old}", values),  # noqa: S608
        )
        return self._run_locked(lambda db: sum(db.execute(*each).rowcount for each in deletes))

    def measure_usage(self) -> JournalUsage:
        """How full it is."""
        counted, lasting = self._lasting
        if time.monotonic() - counted > _COUNTED:
            kept = f"kind NOT IN ({', '.join('?' * len(EXPENDABLE))})"
            count = f"SELECT total(length(body)) + {_OVERHEAD} * count(*) FROM records WHERE {kept}"  # noqa: S608
            lasting = int(self._run_locked(lambda db: db.execute(count, EXPENDABLE).fetchall())[0][0])
            self._lasting = time.monotonic(), lasting
        used, pages = self._run_locked(lambda db: (self._bytes_used(db), _read_pragma(db, "page_count")))
        return JournalUsage(pages * self._page_size + self._log_size(), self._max_size, used, lasting)

    def shrink(self) -> bool:
        """Return some free pages above the limit to the file system; whether there is more to do.

        A file that an older version has made is rewritten once.
        """

        def work(db: sqlite3.Connection) -> bool:
            if _read_pragma(db, "page_count") * self._page_size <= self._max_size:
                return False
            used = self._bytes_used(db)
            with _begin_transaction(db):
                self._make_room(db, 0)
            if self._bytes_used(db) > self._max_size:
                return self._bytes_used(db) < used
            if not _read_pragma(db, "freelist_count"):
                return False
            if _read_pragma(db, "auto_vacuum") == 0:
                db.execute("PRAGMA auto_vacuum = INCREMENTAL").fetchall()
                db.execute("VACUUM").fetchall()
                return False
            # A script, for that runs to its end: of a statement without rows one page comes back.
            db.executescript("PRAGMA incremental_vacuum(1024)")
            return True

        more = self._run_locked(work)
        if not more and self._log_size() > _USUAL_LOG:
            self._run_locked(_empty_log)
        return more

    def _change_rows(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do work in one transaction."""

        def change(db: sqlite3.Connection) -> T:
            if self._log_size() > MAX_LOG:
                _empty_log(db)
            with _begin_transaction(db):
                return work(db)

        return self._run_locked(change)

    def _make_room(self, db: sqlite3.Connection, size: int) -> bool:
        """Delete what tells least until there is room for so many bytes; False where that is not enough.

        At most so much as takes a fraction of a second: after the limit was lowered there is more to do.
        """
        deletes = list(reversed(_DELETES))
        for _ in range(_MOST_DELETES):
            if self._bytes_used(db) + size <= self._max_size * _SOFT:
                return self._log_size() <= MAX_LOG
            if deletes and db.execute(deletes[-1]).rowcount == 0:
                deletes.pop()
        return False

    def _bytes_used(self, db: sqlite3.Connection) -> int:
        return (_read_pragma(db, "page_count") - _read_pragma(db, "freelist_count")) * self._page_size

    def _log_size(self) -> int:
        try:
            return self.path.with_name(f"{self.path.name}-wal").stat().st_size
        except OSError:
            return 0

    def _read_name(self) -> bytes:
        name = self.recall("", "journal")
        if name is None:
            # Another process may have been here first.
            insert = "INSERT OR IGNORE INTO memories (server, name, body) VALUES ('', 'journal', randomblob(16))"
            self._run_locked(lambda db: db.execute(insert).fetchall())
            return self._read_name()
        return name

    def _run_locked(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with self._lock, _in_words(self.path):
            return work(self._connection)


def _file_place(path: Path) -> tuple[int, int, int] | None:
    """The device and number of the file that is there, and the number of its log; None where there is nothing."""
    try:
        found = path.stat()
    except OSError:
        return None
    # If only the log is deleted, other processes do not see what we write.
    with suppress(OSError):
        return (found.st_dev, found.st_ino, path.with_name(f"{path.name}-wal").stat().st_ino) if found.st_size else None
    return found.st_dev, found.st_ino, 0


def _describe_place(path: Path) -> bytes:
    try:
        found = path.stat()
    except OSError:
        return b""
    return f"{found.st_dev}:{found.st_ino}".encode()


def _has_log(path: Path) -> bool:
    try:
        return path.with_name(f"{path.name}-wal").stat().st_size > 0
    except OSError:
        return False


def _has_tables(path: Path) -> bool:
    """Whether the file itself has any; True also where that cannot be known."""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)) as db:
            return db.execute("SELECT 1 FROM sqlite_master").fetchone() is not None
    except sqlite3.Error:
        return True


def _prepare_database(db: sqlite3.Connection, path: Path) -> None:
    """Settings of this connection; tables where there are none."""
    if _is_foreign(db):
        raise JournalError(f"{path} is another program's database: name another file")
    if _read_version(db) == 0:
        # Before the first table; without effect afterwards. In a journal that others write to it would fail: it writes
        # within a transaction that has begun to read.
        db.execute("PRAGMA auto_vacuum = INCREMENTAL").fetchall()
    for setting in (
        "journal_mode = WAL",
        "synchronous = FULL",
        "cache_size = -256",
        "temp_store = MEMORY",
        f"journal_size_limit = {_USUAL_LOG}",
    ):
        db.execute(f"PRAGMA {setting}").fetchall()
    if _read_version(db) == 0:
        with closing(db.cursor()) as cursor:
            cursor.execute("BEGIN IMMEDIATE")
            # Another process may have been here first.
            if _read_version(db) == 0:
                for table in _TABLES.split(";")[:-1]:
                    cursor.execute(table)
                cursor.execute(f"PRAGMA user_version = {VERSION}")
            cursor.execute("COMMIT")
    if (version := _read_version(db)) != VERSION:
        raise JournalError(
            f"the journal {path} is of format {version}, this pgdoctor reads {VERSION}: "
            "move it away, or use the version that wrote it"
        )
    if _has_code(db):
        raise JournalError(f"{path} has a view, a trigger or a computed column, as no journal has: it is not read")


def _has_code(db: sqlite3.Connection) -> bool:
    """Whether reading it computes values: one row of a file that came from others could fill the memory."""
    made = "SELECT 1 FROM sqlite_master WHERE type IN ('view', 'trigger') OR sql LIKE 'CREATE VIRTUAL%'"
    computed = """
        SELECT 1 FROM sqlite_master AS made, pragma_table_xinfo(made.name) AS each
        WHERE made.type = 'table' AND each.hidden <> 0
    """
    return any(db.execute(f"{select} LIMIT 1").fetchall() for select in (made, computed))


def _is_foreign(db: sqlite3.Connection) -> bool:
    """Whether there are tables that are not ours."""
    # Both at one moment: another process may be about to make ours.
    db.execute("BEGIN").fetchall()
    try:
        return _read_version(db) == 0 and db.execute("SELECT 1 FROM sqlite_master").fetchone() is not None
    finally:
        db.execute("ROLLBACK").fetchall()


def _read_version(db: sqlite3.Connection) -> int:
    return _read_pragma(db, "user_version")


def _read_pragma(db: sqlite3.Connection, name: str) -> int:
    return int(db.execute(f"PRAGMA {name}").fetchone()[0])


def _empty_log(db: sqlite3.Connection) -> None:
    """Empty the write-ahead log, unless another process reads it: then it is left for later."""
    db.execute("PRAGMA busy_timeout = 0").fetchall()
    try:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    finally:
        db.execute(f"PRAGMA busy_timeout = {_PATIENCE * 1000:.0f}").fetchall()


@contextmanager
def _begin_transaction(db: sqlite3.Connection) -> Iterator[None]:
    db.execute("BEGIN IMMEDIATE").fetchall()
    try:
        yield
        db.execute("COMMIT").fetchall()
    finally:
        # Some errors have ended it already.
        if db.in_transaction:
            db.execute("ROLLBACK").fetchall()


@contextmanager
def _in_words(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
            why = "the disk is full, or [journal] max_size is reached: free space, raise max_size, or lower keep"
            raise JournalError(f"the journal {path} cannot be written: {why}") from None
        raise JournalError(f"the journal {path} cannot be used: {error}") from None
    except sqlite3.DatabaseError as error:
        raise JournalError(f"{path} is not a journal, or it is damaged: {error}; move it away") from None


def _to_moment(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)
