"""What follows from an incident's events: receivers are notified, the journal keeps them, and snapshots beside them.

All of it in a task of its own. The poll only says what it has seen, and waits for nothing.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import msgspec

from pgdoctor.errors import JournalError
from pgdoctor.incidents.incident import Incident, IncidentEvent
from pgdoctor.incidents.incident_course import IncidentCourse, RefusedSignal
from pgdoctor.incidents.incident_log import (
    KIND,
    IncidentRecord,
    build_server_fields,
    closed_unobserved,
    encode_entry,
    encode_observation,
    latest_entries,
    read_entries,
)
from pgdoctor.incidents.incident_traces import trace_incident
from pgdoctor.incidents.snapshot_archive import pack_diagnosis
from pgdoctor.incidents.snapshot_sampling import (
    MOST_WITH_SNAPSHOTS,
    MOST_WRITTEN,
    SampledSnapshot,
    SnapshotQuota,
    SnapshotSampler,
)
from pgdoctor.journal.keeper import Keeper
from pgdoctor.model.diagnosis import Diagnosis
from pgdoctor.notify.notifier import Notifier
from pgdoctor.postgres.offload import offload
from pgdoctor.render.outbound_alert import describe_event

log = logging.getLogger(__name__)

#: Events and peaks that wait to be written; beyond that the oldest are lost.
_MOST_WAITING = 100

#: Incidents that are read back after a start, and how old they may be.
MOST_PAST = 20
_PAST = timedelta(days=7)


class PolledDiagnosis(NamedTuple):
    """One poll with an open incident, or at its end."""

    #: The identity of the server; empty where our role may not know.
    server: str
    at: datetime
    incident: Incident | None
    events: tuple[IncidentEvent, ...]
    diagnosis: Diagnosis
    blocked: int
    #: Incidents that an earlier agent has left open, and that are no longer there.
    lost: tuple[IncidentRecord, ...] = ()
    #: What guards refuse, as of the poll before.
    refused: tuple[RefusedSignal, ...] = ()

    @property
    def sessions(self) -> int:
        """Sessions in the diagnosis."""
        return len(self.diagnosis.snapshot.sessions)


class IncidentRecorder:
    """Of one server. `name` is that of the configuration; `remember` takes the ends of before this process."""

    def __init__(
        self, name: str | None, keeper: Keeper, notifier: Notifier, remember: Callable[[list[IncidentEvent]], None]
    ) -> None:
        self._name = name
        self._keeper = keeper
        self._notifier = notifier
        self._remember = remember
        self._waiting: deque[PolledDiagnosis] = deque(maxlen=_MOST_WAITING)
        self._filled = asyncio.Event()
        #: Nothing waits to be written, and nothing is being written.
        self._drained = asyncio.Event()
        self._drained.set()
        self._read: str | None = None
        self._recalling: asyncio.Task[tuple[IncidentRecord, ...]] | None = None
        #: The latest poll of the incident that goes on, until it is recorded; a newer one takes its place.
        self._latest: PolledDiagnosis | None = None
        #: By incident, the record of its latest snapshot.
        self._observed: dict[str, int] = {}
        self._advice: dict[str, Any] = {}
        #: Of the incident with this id, which may have begun under an earlier agent.
        self._course: tuple[str, IncidentCourse] = "", IncidentCourse()
        self._left: dict[str, IncidentRecord] = {}
        self._sampler = SnapshotSampler()
        self._written = SnapshotQuota(MOST_WRITTEN)
        self._pasted = SnapshotQuota(MOST_WITH_SNAPSHOTS)

    async def drain(self, patience: float) -> None:
        """Wait until all that was seen is in the journal or left out, for `patience` seconds at most."""
        with suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await self._drained.wait()

    @property
    def server(self) -> str | None:
        """The identity of the server; None: not known yet."""
        return self._read

    def see(self, seen: PolledDiagnosis) -> None:
        """Take note of a poll, if it says anything new. Never waits."""
        self._follow_course(seen)
        is_new = seen.incident is not None and self._is_new(seen, seen.incident)
        if seen.events or seen.lost or is_new:
            self._waiting.append(seen)
        if seen.blocked or seen.incident is None:
            self._latest = seen if seen.incident is not None else None
        if self._waiting or self._latest is not None:
            self._filled.set()
            self._drained.clear()

    def acknowledge(self, incident: Incident) -> None:
        """Note that the agent has signalled a session of the incident. Never waits."""
        self._notifier.announce_action(incident, self._name)

    async def recall(self, server: str, patience: float) -> tuple[IncidentRecord, ...] | None:
        """The incidents that an earlier agent has left open at a server, reported once; None: it is not known yet.

        Waits for the journal for `patience` seconds at most. One that cannot be used knows of none.
        """
        if self._read != server:
            self._read, self._recalling = server, asyncio.create_task(self._recall_incidents(server))
        if self._recalling is None:
            return ()
        done, _ = await asyncio.wait({self._recalling}, timeout=patience)
        if not done:
            return None
        recalled, self._recalling = self._recalling, None
        return recalled.result()

    def _follow_course(self, seen: PolledDiagnosis) -> None:
        incident = seen.incident or next((each.incident for each in seen.events), None)
        if incident is None:
            return
        if self._course[0] != incident.id:
            left = self._left.get(incident.id)
            self._course = incident.id, IncidentCourse(left.course, left.refused) if left else IncidentCourse()
        course = self._course[1]
        course.add_poll(incident.seconds_until(seen.at), seen.blocked, seen.diagnosis.snapshot.server.connections)
        if seen.blocked:
            course.add_refused(seen.refused)

    def _known(self, incident: Incident) -> dict[str, Any]:
        """What a record says beside the incident."""
        if self._course[0] != incident.id:
            return self._advice
        return self._advice | {"course": self._course[1].points, "refused": self._course[1].refused}

    def _is_new(self, seen: PolledDiagnosis, incident: Incident) -> bool:
        age = incident.seconds_until(seen.at)
        return self._sampler.wants(seen.blocked, age) or self._is_awaited(seen, incident, age)

    def _is_awaited(self, seen: PolledDiagnosis, incident: Incident, age: float) -> bool:
        return seen.blocked > 0 and self._notifier.is_due(incident, age, self._name)

    async def run(self) -> None:
        """Write for ever."""
        while True:
            while not self._waiting and self._latest is None:
                self._filled.clear()
                self._drained.set()
                await self._filled.wait()
            try:
                await self._record_next()
            except JournalError:
                # The keeper has said so; the next one may be kept again.
                pass
            except Exception:
                log.exception("an incident could not be recorded")

    async def _record_next(self) -> None:
        if self._waiting:
            await self._record_poll(self._waiting.popleft())
        elif self._latest is not None:
            seen, self._latest = self._latest, None
            await self._observe(seen)

    async def _record_poll(self, seen: PolledDiagnosis) -> None:
        for left in seen.lost:
            lost = closed_unobserved(left, seen.at)
            self._notifier.queue_event(lost.as_end, describe_event(lost.as_end, seen.diagnosis, 0), self._name)
            await self._append_record(seen.server, lost)
        for event in seen.events:
            await self._notify_event(event, seen)
            await self._write_event(event, seen)
        if seen.incident is not None:
            await self._tell_withheld(seen, seen.incident)
            await self._keep_snapshot(seen, seen.incident)

    async def _recall_incidents(self, server: str) -> tuple[IncidentRecord, ...]:
        """Read the incidents recorded before this process started, with those whose end was not observed."""
        since = datetime.now(UTC) - _PAST
        try:
            records = await self._keeper.run_work(
                lambda journal: journal.fetch_records(server, kinds=(KIND,), since=since)
            )
        except JournalError:
            # The keeper has said so.
            return ()
        entries, unread = read_entries(record.body for record in records)
        if unread:
            log.warning("past incidents skipped: damaged, or of another version", extra={"records": unread})
        past = [each for each in latest_entries(entries) if each.server == self._name]
        self._remember([each.as_end for each in past if each.is_over][-MOST_PAST:])
        self._left = left = {each.id: each for each in past if not each.is_over}
        for record in records:
            # A subject's last record is its latest; only an observation is ever replaced.
            if record.subject in left and left[record.subject].event == "observed":
                self._observed[record.subject] = record.id
        return tuple(left.values())

    async def _notify_event(self, event: IncidentEvent, seen: PolledDiagnosis) -> None:
        said = await offload(seen.sessions, describe_event, event, seen.diagnosis, seen.blocked)
        if event.kind != "ended":
            roots = seen.diagnosis.blockers
            self._advice = {
                "relation": seen.diagnosis.locate_blocker(roots[0]) if roots else None,
                "recommendation": said.mitigation_action,
                "traces": trace_incident(seen.diagnosis),
                **build_server_fields(seen.diagnosis.snapshot.server),
            }
        self._notifier.queue_event(event, said, self._name)

    async def _tell_withheld(self, seen: PolledDiagnosis, incident: Incident) -> None:
        age = incident.seconds_until(seen.at)
        if self._is_awaited(seen, incident, age):
            as_it_is = IncidentEvent("started", incident, seen.at)
            said = await offload(seen.sessions, describe_event, as_it_is, seen.diagnosis, seen.blocked)
            self._notifier.tell_withheld(incident, age, said, self._name)

    async def _write_event(self, event: IncidentEvent, seen: PolledDiagnosis) -> None:
        if event.kind == "started":
            self._sampler = SnapshotSampler()
        if self._written.admits(event.incident.id, event.incident.peak_blocked, time.monotonic()):
            known = self._known(event.incident)
            await self._append_record(seen.server, encode_entry(event, seen.blocked, server=self._name, **known))
        else:
            self._keeper.leave_out("frequent")
        peak = self._sampler.take_last() if event.kind == "ended" else None
        if peak is not None:
            await self._store_snapshot(seen.server, event.incident.id, peak)

    async def _observe(self, seen: PolledDiagnosis) -> None:
        """Record how the incident is now, in place of how it was."""
        incident = seen.incident
        if incident is None or not self._written.admits(incident.id, incident.peak_blocked, time.monotonic()):
            return
        self._advice["traces"] = await offload(seen.sessions, trace_incident, seen.diagnosis)
        written = encode_observation(incident, seen.at, seen.blocked, server=self._name, **self._known(incident))
        if record := await self._append_record(seen.server, written):
            self._observed[incident.id] = record

    async def _append_record(self, server: str, written: IncidentRecord) -> int:
        body, before = msgspec.json.encode(written), self._observed.pop(written.id, 0)
        record = await self._keeper.run_work(
            lambda journal: journal.append(server, KIND, written.id, body, written.at, replacing=before)
        )
        if not record:
            self._observed[written.id] = before
            self._keeper.leave_out("full")
        return record

    async def _keep_snapshot(self, seen: PolledDiagnosis, incident: Incident) -> None:
        """Keep what this poll shows, if it shows anything new."""
        age = incident.seconds_until(seen.at)
        if seen.blocked and (seen.events or self._sampler.wants(seen.blocked, age)):
            body = await offload(seen.sessions, pack_diagnosis, seen.diagnosis)
            snap = self._sampler.add(SampledSnapshot(seen.blocked, seen.at, body), age, is_event=bool(seen.events))
            if snap is not None:
                await self._store_snapshot(seen.server, incident.id, snap)

    async def _store_snapshot(self, server: str, incident: str, snap: SampledSnapshot) -> None:
        if not self._pasted.admits(incident, snap.blocked, time.monotonic()):
            self._keeper.leave_out("frequent")
        elif not await self._keeper.run_work(lambda journal: journal.keep(server, incident, snap.body, snap.at)):
            self._keeper.leave_out("full")
