"""Copies incidents from the journal into the archive, behind everything else: no poll and no decision waits for it.

The journal is the queue. It is read over a connection and in a thread of its own, and a cursor in it says how far the
archive is. An archive that is away for an hour loses nothing that the journal still has: `[journal] max_size` and
`keep` say what that is. A batch that was written, and whose cursor was not, is written again, which changes nothing.
"""

import asyncio
import logging
import random
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from pgdoctor.agent.polling.reconnector import DsnFile, Reconnector
from pgdoctor.agent.stored_incidents import DEEDS, IMPORTED, read_incident
from pgdoctor.config.config import ArchiveSettings
from pgdoctor.errors import JournalError, PgdoctorError, StatementFailed
from pgdoctor.incidents.archive_rows import Row, list_blocker_rows, list_record_rows
from pgdoctor.incidents.blocking_patterns import IncidentHistory, share_out
from pgdoctor.incidents.incident_log import KIND, read_entries
from pgdoctor.journal.keeper import Keeper
from pgdoctor.journal.store import Journal, JournalRecord, KeptValue
from pgdoctor.postgres.archive import Write, drop_archive_months, prepare_archive, write_archive
from pgdoctor.postgres.connection import Connection

log = logging.getLogger(__name__)

#: Records and snapshots of one batch. A snapshot may take half a megabyte.
_MOST_RECORDS = 200
_MOST_SNAPSHOTS = 10

#: Seconds between two batches, where there is more at once, and after the first failure and after many.
_PAUSE = 2.0
_BRIEF_PAUSE = 0.05
_LONGEST_PAUSE = 120.0

#: Times that the archive has to refuse the same batch for its values until its rows are written one by one, and the
#: classes of SQLSTATE that say so: with the same values it will refuse them again. None: the driver refuses them.
_REFUSALS = 3
_OF_VALUES = frozenset({"21", "22", "23", "44", "54", "P0"})

#: Seconds that a statement may take: no session waits for it.
_DEADLINE = 10.0

#: Seconds between two searches for months that are old enough to be dropped.
_DROPPED_AGAIN = 3600.0


class _Cursor(msgspec.Struct, frozen=True):
    """The last record and snapshot of the journal that an archive has."""

    record: int = 0
    snapshot: int = 0


class _Batch(msgspec.Struct, frozen=True):
    """What is next in the journal: of which servers, as rows, and where the cursor is afterwards."""

    servers: frozenset[str]
    #: Rows that are written together or not at all: those of one record, snapshot or blocker.
    groups: tuple[tuple[Row, ...], ...]
    size: int
    cursor: _Cursor
    waiting: int

    @property
    def rows(self) -> Iterator[Row]:
        """All rows."""
        return (row for group in self.groups for row in group)

    @property
    def months(self) -> set[tuple[int, int]]:
        """The months of its rows."""
        moments = (value for _, values in self.rows for value in values.values() if isinstance(value, datetime))
        return {(each.year, each.month) for each in (moment.astimezone(UTC) for moment in moments)}


class Archiver:
    """Runs until it is cancelled. Counts from the start of the process on."""

    def __init__(self, settings: ArchiveSettings, keeper: Keeper) -> None:
        #: Records and snapshots that were written, batches that failed, and parts that the archive always refuses.
        self.counts = {"written": 0, "failed": 0, "set_aside": 0}
        #: Records and snapshots of the journal that the archive does not have yet, as of the last batch.
        self.waiting = 0
        #: Why the last batch was not written; None: it was, or there is no archive.
        self.error: str | None = None
        self._settings = settings
        self._keeper = keeper
        self._reconnector: Reconnector | None = None
        self._failures = 0
        #: The batch that the archive has refused for its values, by its cursor, and how often.
        self._refused = (_Cursor(), 0)
        self._prepared: Connection | None = None
        self._months: set[tuple[int, int]] = set()
        self._dropped_at = -_DROPPED_AGAIN
        self.reconfigure(settings)

    def reconfigure(self, settings: ArchiveSettings) -> None:
        """Go on with other settings, at once."""
        self._settings, self._failures, self._prepared = settings, 0, None
        dsn = settings.dsn if settings.dsn_file is None else DsnFile(settings.dsn_file)
        if self._reconnector is not None:
            self._reconnector.drop()
        self._reconnector = None if dsn is None else Reconnector(dsn, _DEADLINE)
        if dsn is None:
            self.error, self.waiting = None, 0

    async def run(self) -> None:
        """Copy what is new, again and again."""
        while True:
            pause = _PAUSE
            if self._reconnector is not None:
                pause = await self._copy_or_wait(self._reconnector)
            await asyncio.sleep(pause)

    def close(self) -> None:
        """Let go of the connection, whatever the archive does."""
        if self._reconnector is not None:
            self._reconnector.drop()

    async def _copy_or_wait(self, reconnector: Reconnector) -> float:
        """Copy one batch; seconds until the next."""
        try:
            is_more = await self._copy_batch(await reconnector.connect())
        except PgdoctorError as error:
            self._note_failure(str(error))
            return self._retry_pause
        except Exception as error:
            # A fault of ours must not end the copying without a word.
            log.exception("archiving failed")
            self._note_failure(f"internal error: {type(error).__name__}")
            return self._retry_pause
        if self.error is not None:
            log.info("the archive can be written again", extra={"waiting": self.waiting})
        self._failures, self.error = 0, None
        return _BRIEF_PAUSE if is_more else _PAUSE

    @property
    def _retry_pause(self) -> float:
        return random.uniform(0.5, 1.0) * min(_PAUSE * 2.0 ** min(self._failures, 10), _LONGEST_PAUSE)

    def _note_failure(self, why: str) -> None:
        if why != self.error:
            log.warning("the archive cannot be written; the journal keeps incidents", extra={"error": why})
        self.error = why
        self._failures += 1
        self.counts["failed"] += 1

    async def _copy_batch(self, connection: Connection) -> bool:
        """Whether the journal has more. Raises PgdoctorError."""
        if self._prepared is not connection:
            await prepare_archive(connection)
            self._prepared, self._months = connection, set()
        archive = await connection.system_identifier()
        name = f"archive {archive or connection.host} {connection.connection.info.dbname}"
        batch = await asyncio.to_thread(_read_batch, self._keeper.path, name)
        self.waiting = batch.waiting
        if batch.size:
            self._refuse_watched(archive, batch)
            await self._write_batch(connection, batch)
            cursor = msgspec.json.encode(batch.cursor)
            await self._keeper.run_work(lambda journal: journal.remember("", name, cursor))
            self.waiting = max(batch.waiting - batch.size, 0)
        await self._drop_old_months(connection)
        return self.waiting > 0

    def _refuse_watched(self, archive: str, batch: _Batch) -> None:
        """Raise StatementFailed where the archive is on a server that is watched."""
        if archive and not self._settings.on_watched_server and archive in batch.servers:
            raise StatementFailed(
                "the archive is on the server that is watched, so it is unavailable when it is needed: use another "
                "server, or set [archive] on_watched_server = true",
                sqlstate=None,
            )

    async def _write_batch(self, connection: Connection, batch: _Batch) -> None:
        new = batch.months - self._months
        months = [datetime(year, month, 15, tzinfo=UTC) for year, month in sorted(new)]
        cursor, refusals = self._refused
        if cursor == batch.cursor and refusals >= _REFUSALS:
            set_aside = await self._write_groups(connection, batch, months)
        else:
            try:
                await write_archive(connection, [Write(*row) for row in batch.rows], months)
            except StatementFailed as error:
                if _is_of_values(error):
                    self._refused = (batch.cursor, refusals + 1 if cursor == batch.cursor else 1)
                raise
            set_aside = 0
        self._months |= new
        self.counts["written"] += max(batch.size - set_aside, 0)
        self.counts["set_aside"] += set_aside

    async def _write_groups(self, connection: Connection, batch: _Batch, months: Sequence[datetime]) -> int:
        """Write what the archive takes; the number of groups that it refuses, which the journal alone keeps."""
        await write_archive(connection, [], months)
        set_aside = 0
        for group in batch.groups:
            try:
                await write_archive(connection, [Write(*row) for row in group])
            except StatementFailed as error:
                if not _is_of_values(error):
                    raise
                set_aside += 1
                log.warning(
                    "the archive refuses a row permanently: the row is skipped", extra=_describe_group(group, error)
                )
        return set_aside

    async def _drop_old_months(self, connection: Connection) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._dropped_at >= _DROPPED_AGAIN:
            self._dropped_at = now
            await drop_archive_months(connection, datetime.now(UTC) - timedelta(seconds=self._settings.keep))


def _read_batch(path: Path, name: str) -> _Batch:
    """What is next, by the cursor of that name; nothing where there is no journal yet. Raises JournalError."""
    if not path.exists():
        return _Batch(frozenset(), (), 0, _Cursor(), 0)
    with closing(Journal.open(path)) as journal:
        return _collect_batch(journal, name)


def _collect_batch(journal: Journal, name: str) -> _Batch:
    cursor = _read_cursor(journal.recall("", name))
    if cursor.record > journal.fetch_last_id():
        # Another journal is at its path, whose ids begin again.
        cursor = _Cursor()
    records = journal.fetch_records(kinds=(KIND, *DEEDS), after=cursor.record, most=_MOST_RECORDS)
    snapshots = journal.kept_after(cursor.snapshot, _MOST_SNAPSHOTS)
    own = [each for each in records if not each.server.startswith(IMPORTED)]
    own_snapshots = [each for each in snapshots if not each.server.startswith(IMPORTED)]
    return _Batch(
        servers=frozenset(each.server for each in own) | {each.server for each in own_snapshots},
        groups=(*_list_groups(own, own_snapshots), *_list_blockers(journal, own, own_snapshots)),
        size=len(records) + len(snapshots),
        cursor=_Cursor(
            records[-1].id if records else cursor.record, snapshots[-1].id if snapshots else cursor.snapshot
        ),
        waiting=journal.count_after(cursor.record, cursor.snapshot, (KIND, *DEEDS)),
    )


def _is_of_values(error: StatementFailed) -> bool:
    return error.sqlstate is None or error.sqlstate[:2] in _OF_VALUES


def _describe_group(group: Sequence[Row], error: StatementFailed) -> dict[str, object]:
    """Which rows they are, for the log: without their values."""
    _, values = group[0]
    about = {name: values[name] for name in ("server", "kind", "subject", "incident") if name in values}
    return {"rows": ", ".join(dict.fromkeys(name for name, _ in group)), **about, "sqlstate": error.sqlstate}


def _list_groups(records: Iterable[JournalRecord], snapshots: Iterable[KeptValue]) -> Iterator[tuple[Row, ...]]:
    for each in records:
        yield tuple(list_record_rows(each.server, each.kind, each.subject, each.at, each.body))
    for kept in snapshots:
        about = {"server": kept.server, "incident": kept.incident, "at": kept.at}
        yield (("archive_snapshot", {**about, "body": kept.body}),)


def _read_cursor(body: bytes | None) -> _Cursor:
    with suppress(msgspec.MsgspecError):
        if body is not None:
            return msgspec.json.decode(body, type=_Cursor)
    return _Cursor()


def _list_blockers(
    journal: Journal, records: Sequence[JournalRecord], snapshots: Sequence[KeptValue]
) -> Sequence[tuple[Row, ...]]:
    """The rows of what blocked in the incidents of a batch, as of all that the journal has of them."""
    touched = {(each.server, each.subject): None for each in records if each.kind == KIND}
    touched |= {(each.server, each.incident): None for each in snapshots}
    rows: list[tuple[Row, ...]] = []
    for server, incident in touched:
        with suppress(JournalError):
            entries, _ = read_entries(
                each.body for each in journal.fetch_records(server, kinds=(KIND,), subject=incident)
            )
            if entries:
                stored = read_incident(journal, server, entries)
                history = IncidentHistory(entries[-1], tuple(each.stored for each in stored.snapshots))
                rows += ((row,) for row in list_blocker_rows(server, entries[-1], share_out(history)))
    return rows
