"""The journal as mitigation uses it: each action is on the disk before it is done, and the records of others are read.

Without a journal (a rehearsal, a test) everything is kept in memory alone.
"""

import asyncio
from collections.abc import Iterable
from datetime import datetime

from pgdoctor.errors import JournalError
from pgdoctor.journal.keeper import Keeper
from pgdoctor.journal.store import Journal, JournalRecord
from pgdoctor.mitigation import audit_records
from pgdoctor.mitigation.audit_records import BY_COMMAND, NAMELESS, Brakes, Disarm, Event, MaintenanceWindow
from pgdoctor.mitigation.history import KEPT, History
from pgdoctor.mitigation.rehearsal import RehearsalScore
from pgdoctor.postgres.connection import Connection


class Audit:
    """What is known of one server after all that was done there, by whichever process."""

    def __init__(self, keeper: Keeper | None = None, proof: str = BY_COMMAND, *, only_reads: bool = False) -> None:
        self.history = History()
        self.brakes = Brakes()
        #: Why what is done could not be recorded; None: it can be, or need not be.
        self.error: str | None = None
        self._keeper = keeper
        self._proof = proof
        #: No record is written.
        self._only_reads = only_reads
        self._server: str | None = None
        #: The journal that was read, up to which record; and those that were written here, each with its journal.
        self._journal = b""
        self._last = 0
        self._own: set[tuple[bytes, int]] = set()
        self._is_proven = False
        #: Brakes that hold, and are not on the disk yet.
        self._unwritten: list[Event] = []
        #: Brakes that were set here, and are not known to other pgdoctors at the server yet.
        self.untold: list[Disarm | MaintenanceWindow] = []
        self._writing = asyncio.Lock()

    def pull_brake(self, event: Disarm | MaintenanceWindow) -> None:
        """Let it hold from now on; it is recorded at the next `catch_up` that can."""
        if not (isinstance(event, Disarm) and any(isinstance(each, Disarm) for each in self._unwritten)):
            self._unwritten.append(event)
            self.untold.append(event)
            self.take_events([event])

    async def write_down(self) -> bool:
        """Whether all that holds is on the disk now, so that it holds after a restart too."""
        # One after the other: a reader that finds it gone from the list must not take it for written.
        async with self._writing:
            while self._unwritten and self._server is not None:
                if not (await self._is_recorded(self._unwritten[0]) or await self.write_event(self._unwritten[0])):
                    return False
                del self._unwritten[0]
        return self._keeper is not None and not self._unwritten

    async def _is_recorded(self, event: Event) -> bool:
        """Whether the journal says so already: a repeated disarm writes nothing."""
        if self._keeper is None or not isinstance(event, Disarm):
            return False
        try:
            found = await self._keeper.run_work(
                lambda journal: journal.fetch_records(self._server, kinds=("disarm", "arm"))
            )
            return audit_records.replay_brakes(audit_records.read_events(found)).kill_switch is not None
        except JournalError:
            return False

    async def catch_up(self, connection: Connection, now: datetime) -> None:
        """Take in what was written since the last time. `error` says afterwards whether all of this can be relied on.

        Raises ServerError where it cannot be known which server this is.
        """
        if self._keeper is None:
            return
        server = await connection.system_identifier()
        if not server and self._server:
            self.error = NAMELESS
            return
        if server != self._server:
            self._server, self._journal, self.history = server, b"", History()
        await self.write_down()
        try:
            name, found = await self._keeper.run_work(lambda journal: self._read_news(journal, server, now))
            self._take_records(name, found, now)
        except JournalError as error:
            self.error = str(error)
            return
        self._is_proven, self.error = True, None if server else NAMELESS

    def _take_records(self, name: bytes, found: list[JournalRecord], now: datetime) -> None:
        """Take in what was read in the journal of that name. Raises JournalError."""
        told = tuple(audit_records.read_events(record for record in found if (name, record.id) not in self._own))
        self.history = audit_records.replay_history(told, self.history)
        if name == self._journal:
            # Our own as well: the latest counts. A brake that is not recorded yet came after all of them.
            self.brakes = audit_records.replay_brakes(
                [*audit_records.read_events(found), *self._unwritten], self.brakes
            )
        else:
            # Of another server, or in place of the one before: a brake holds until it is lifted here.
            held, self.brakes = self.brakes, audit_records.replay_brakes(audit_records.read_events(found))
            self._journal, self._last = name, 0
            for event in audit_records.carried_brakes(held, self.brakes, now):
                self.pull_brake(event)
        if found:
            self._last = found[-1].id
            self._own = {each for each in self._own if each[0] == name and each[1] > self._last}

    async def write_event(self, event: Event | RehearsalScore) -> bool:
        """Whether the event is on the disk now; `error` says why not."""
        if self._keeper is None or self._only_reads:
            return True
        server = self._server or ""
        try:
            self._own.add(await self._keeper.run_work(lambda journal: _append_event(journal, server, event)))
        except JournalError as error:
            self._is_proven, self.error = False, str(error)
            return False
        return True

    def take_events(self, told: Iterable[Event]) -> None:
        """Go on with what these events say."""
        told = tuple(told)
        self.history = audit_records.replay_history(told, self.history)
        self.brakes = audit_records.replay_brakes(told, self.brakes)

    def _read_news(self, journal: Journal, server: str, now: datetime) -> tuple[bytes, list[JournalRecord]]:
        """The journal's name, and what was written there that was not read yet."""
        is_same = journal.name == self._journal and self._last <= journal.fetch_last_id()
        if not (is_same and self._is_proven) and not self._only_reads:
            journal.prove_room(server, self._proof)
        if is_same:
            return journal.name, journal.fetch_records(server, kinds=audit_records.KINDS, after=self._last)
        lasting = journal.fetch_records(server, kinds=audit_records.LASTING)
        passing = tuple(kind for kind in audit_records.KINDS if kind not in audit_records.LASTING)
        recent = journal.fetch_records(server, kinds=passing, since=now - KEPT)
        return journal.name, sorted((*lasting, *recent), key=lambda record: record.id)


def _append_event(journal: Journal, server: str, event: Event | RehearsalScore) -> tuple[bytes, int]:
    kind, subject, body, at = audit_records.encode_event(event)
    return journal.name, journal.append(server, kind, subject, body, at)
