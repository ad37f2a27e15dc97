"""Snapshots of one server, each judged with what the ones before have shown."""

import asyncio
import time

from msgspec.structs import replace

from pgdoctor.model.diagnosis import Diagnosis
from pgdoctor.model.server_context import ServerContext
from pgdoctor.model.snapshot import Snapshot
from pgdoctor.observer.hot_row_history import needs_second_snapshot
from pgdoctor.observer.observer import Observer
from pgdoctor.observer.recent_changes import KnownRelations
from pgdoctor.observer.replay_wait import is_new_replay_wait
from pgdoctor.postgres.collect import Collector, Gate
from pgdoctor.postgres.offload import offload
from pgdoctor.postgres.read_batch import reading_together

#: Seconds between the two snapshots of a row that may be hot.
_SECOND_SNAPSHOT = 0.3

#: And at a standby whose replay waits: after that it has waited for long enough to be said.
_SECOND_SNAPSHOT_OF_REPLAY = 1.1


class ServerWatch:
    """What is read through a collector, and what is remembered of it. Another server needs another one."""

    def __init__(self, collector: Collector, changes: KnownRelations | None = None) -> None:
        self.collector = collector
        self._memory = Observer(changes)
        self.surroundings: ServerContext | None = None
        #: When the last poll had been read, and was yet to be judged, on the monotonic clock.
        self.read_at = 0.0
        #: For how many seconds each statement that waited at the last gate poll had been blocked at least.
        self.blocked_seconds: tuple[float, ...] = ()

    @property
    def changes(self) -> KnownRelations:
        """What is remembered of changes, for the watch over the next connection."""
        return self._memory.changes

    async def read_server_context(self) -> None:
        """Read what stands around the waits, for the polls from now on. Raises ServerError."""
        self.surroundings = await self.collector.read_server_context()

    async def poll_gate(self, wait_threshold: float) -> Gate:
        """Poll the gate, and remember who waits. Raises ServerError."""
        gate = await self.collector.fetch_gate(wait_threshold)
        self._remember_waiters(gate)
        return gate

    async def poll_waiters(self, wait_threshold: float, counted: Gate) -> Gate | None:
        """Poll waiters alone, with what an earlier gate has counted; None: that is not enough. Raises ServerError."""
        gate = await self.collector.gate_of_waiters(wait_threshold, counted)
        if gate is not None:
            self._remember_waiters(gate)
        return gate

    def _remember_waiters(self, gate: Gate) -> None:
        self.blocked_seconds = self._memory.add_gate(gate.waiting, gate.captured_at)

    async def diagnose_server(self) -> Diagnosis:
        """The diagnosis of the server, now. Where a row may change hands, and where nothing says since when replay
        waits, it takes a second snapshot: one is not enough."""
        return await self._confirm_diagnosis(await self._diagnose_once())

    async def diagnose_with_context(self) -> Diagnosis:
        """Survey and look in as few round trips as it takes: for those who look only once."""
        async with reading_together() as group:
            looked = group.create_task(self.collector.run_gate_and_full_poll())
            group.create_task(self.read_server_context())
        gate, snapshot = looked.result()
        self._remember_waiters(gate)
        return await self._confirm_diagnosis(await self.diagnose_snapshot(snapshot))

    async def diagnose_snapshot(self, snapshot: Snapshot) -> Diagnosis:
        """The diagnosis of the next snapshot, which has just been read."""
        self.read_at = time.monotonic()
        around = replace(snapshot, surroundings=self.surroundings)
        return await offload(len(snapshot.sessions), self._memory.diagnose_snapshot, around)

    async def _confirm_diagnosis(self, diagnosis: Diagnosis) -> Diagnosis:
        """A second diagnosis, where the first one cannot tell."""
        if is_new_replay_wait(diagnosis.snapshot):
            await asyncio.sleep(_SECOND_SNAPSHOT_OF_REPLAY)
        elif needs_second_snapshot(diagnosis):
            await asyncio.sleep(_SECOND_SNAPSHOT)
        else:
            return diagnosis
        return await self._diagnose_once()

    async def _diagnose_once(self) -> Diagnosis:
        return await self.diagnose_snapshot(
            await self.collector.run_full_poll(await self.poll_gate(wait_threshold=0.0))
        )
