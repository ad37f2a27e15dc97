"""What becomes of an incident's events: receivers are told, the journal keeps them, and snapshots beside them.

All of it in a task of its own. The poll only says what it has seen, and waits for nothing.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, TypeVar

import msgspec

from pgdoctor.diagnosis.archive import archived
from pgdoctor.diagnosis.diagnosis import Diagnosis
from pgdoctor.diagnosis.incident import Event, Incident
from pgdoctor.diagnosis.past import KIND, Entry, abandoned, entry, latest
from pgdoctor.errors import JournalError
from pgdoctor.journal.keeper import Keeper
from pgdoctor.journal.store import Journal
from pgdoctor.notify.notifier import Notifier
from pgdoctor.render.alert import alert

log = logging.getLogger(__name__)

T = TypeVar("T")

#: Events and peaks that wait to be written; beyond that the oldest are lost.
_MOST_WAITING = 100

#: Sessions from which on something is made of a diagnosis in a thread.
_MANY_SESSIONS = 25

#: Snapshots of one incident: at its start, when its class changes, when twice as many are blocked as in the one
#: before, and the peak.
_MOST_SNAPSHOTS = 10

#: By how much the peak has to grow for another snapshot to be made, of which only the last is kept.
_HIGHER = 1.1

#: Incidents that are read back after a start, and how old they may be.
MOST_PAST = 20
_PAST = timedelta(days=7)


class Seen(NamedTuple):
    """One look with an incident under way, or at its end."""

    #: What tells the server from others; empty where our role may not know.
    server: str
    at: datetime
    incident: Incident | None
    events: tuple[Event, ...]
    diagnosis: Diagnosis
    blocked: int


class Peak(NamedTuple):
    """The highest since the last snapshot, ready to be kept."""

    blocked: int
    at: datetime
    body: bytes


class Chronicle:
    """Of one server. `name` is that of the configuration; `remember` takes the ends of before this process."""

    def __init__(
        self, name: str | None, keeper: Keeper, notifier: Notifier, remember: Callable[[list[Event]], None]
    ) -> None:
        self._name = name
        self._keeper = keeper
        self._notifier = notifier
        self._remember = remember
        self._waiting: deque[Seen] = deque(maxlen=_MOST_WAITING)
        self._filled = asyncio.Event()
        self._read: str | None = None
        self._advice: dict[str, str | None] = {}
        self._kept = 0
        self._kept_blocked = 0
        self._peak: Peak | None = None

    def see(self, seen: Seen) -> None:
        """Take note of a look, if it says anything new. Never waits."""
        before = self._peak.blocked if self._peak is not None else self._kept_blocked
        if seen.events or seen.server != self._read or seen.blocked > before * _HIGHER:
            self._waiting.append(seen)
            self._filled.set()

    async def run(self) -> None:
        """Write for ever."""
        while True:
            while not self._waiting:
                self._filled.clear()
                await self._filled.wait()
            seen = self._waiting.popleft()
            try:
                await self._take(seen)
            except JournalError:
                # The keeper has said so; the next one may be kept again.
                pass
            except Exception:
                log.exception("an incident could not be written down")

    async def _take(self, seen: Seen) -> None:
        if seen.server != self._read:
            self._read = seen.server
            with suppress(JournalError):
                await self._recall(seen)
        for event in seen.events:
            await self._tell(event, seen)
            await self._write(event, seen)
        if seen.incident is not None and not seen.events:
            await self._note_peak(seen)

    async def _recall(self, seen: Seen) -> None:
        """Read what was before this process; and end what nobody saw the end of."""
        server, since = seen.server, datetime.now(UTC) - _PAST
        past = await self._keeper.do(lambda journal: past_incidents(journal, server, since))
        for each in past:
            if not each.is_over and each.server == self._name:
                lost = abandoned(each, seen.at)
                if self._notifier:
                    self._notifier.tell(lost.as_event, alert(lost.as_event, seen.diagnosis, seen.blocked), self._name)
                await self._append(server, lost)
        self._remember([each.as_event for each in past if each.is_over][-MOST_PAST:])

    async def _tell(self, event: Event, seen: Seen) -> None:
        said = await _off_the_loop(seen.diagnosis, lambda: alert(event, seen.diagnosis, seen.blocked))
        if event.kind != "ended":
            roots = seen.diagnosis.blockers
            self._advice = {
                "relation": roots[0].relation if roots else None,
                "recommendation": said.mitigation_action,
                "database": seen.diagnosis.snapshot.server.database,
            }
        self._notifier.tell(event, said, self._name)

    async def _write(self, event: Event, seen: Seen) -> None:
        written = entry(event, seen.blocked, server=self._name, **self._advice)
        if event.kind == "started":
            self._kept, self._kept_blocked, self._peak = 0, 0, None
        await self._append(seen.server, written)
        if event.kind == "ended":
            await self._keep_peak(seen.server, event.incident.id)
            self._kept, self._kept_blocked, self._peak = 0, 0, None
        else:
            await self._keep(seen.server, event.incident.id, await _peak(seen))

    async def _append(self, server: str, written: Entry) -> None:
        body = msgspec.json.encode(written)
        await self._keeper.do(lambda journal: journal.append(server, KIND, written.id, body, written.at))

    async def _note_peak(self, seen: Seen) -> None:
        assert seen.incident is not None
        self._peak = await _peak(seen)
        if self._peak.blocked >= 2 * self._kept_blocked:
            await self._keep_peak(seen.server, seen.incident.id)

    async def _keep_peak(self, server: str, incident: str) -> None:
        if self._peak is not None and self._peak.blocked > self._kept_blocked:
            await self._keep(server, incident, self._peak, most=_MOST_SNAPSHOTS)

    async def _keep(self, server: str, incident: str, peak: Peak, most: int = _MOST_SNAPSHOTS - 1) -> None:
        """Keep a snapshot; the last place is the peak's."""
        self._kept_blocked, self._peak = peak.blocked, None
        if self._kept < most:
            self._kept += 1
            await self._keeper.do(lambda journal: journal.keep(server, incident, peak.body, peak.at))


def past_incidents(journal: Journal, server: str | None, since: datetime) -> list[Entry]:
    """The last entry of each incident of a server (None: of all) that was heard of since, the oldest first."""
    records = journal.records(server, kinds=(KIND,), since=since)
    return latest(msgspec.json.decode(record.body, type=Entry) for record in records)


async def _peak(seen: Seen) -> Peak:
    return Peak(seen.blocked, seen.at, await _off_the_loop(seen.diagnosis, lambda: archived(seen.diagnosis)))


async def _off_the_loop(diagnosis: Diagnosis, work: Callable[[], T]) -> T:
    """What work on a diagnosis returns; a big one is worked on in a thread, so that HTTP is answered meanwhile."""
    return await asyncio.to_thread(work) if len(diagnosis.snapshot.sessions) >= _MANY_SESSIONS else work()
