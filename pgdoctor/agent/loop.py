"""The poll: one at a time, on the monotonic clock, and its result as one value that everybody else reads."""

import asyncio
import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Protocol

from pgdoctor.agent.connection import Connection
from pgdoctor.agent.state import Figures, State, figures
from pgdoctor.agent.tally import Tally
from pgdoctor.diagnosis.diagnose import diagnose
from pgdoctor.diagnosis.diagnosis import Diagnosis
from pgdoctor.diagnosis.former_holders import Sighting, remembered, sighting, with_memory
from pgdoctor.diagnosis.snapshot import Snapshot
from pgdoctor.errors import ServerError
from pgdoctor.postgres.collect import Collector
from pgdoctor.postgres.door import Door

log = logging.getLogger(__name__)

#: Sessions in a snapshot from which on it is judged in a thread, so that HTTP is answered meanwhile.
_MANY_SESSIONS = 25

#: Seconds between two lines about the same trouble.
_REMINDER = 60.0


class Mitigator(Protocol):
    """Acts on what was found, through the same door, and counts what it did; every label value is there as 0."""

    @property
    def actions(self) -> Mapping[tuple[str, str, str], int]:
        """Signals by action, rule and outcome."""

    @property
    def refused(self) -> Mapping[str, int]:
        """What was not done, by reason."""

    async def consider(self, diagnosis: Diagnosis, door: Door) -> None:
        """Act if the rules say so."""


class Poller:
    """Polls until it is cancelled. `interval` may be changed at any time."""

    def __init__(
        self, connection: Connection, interval: float, tally: Tally, mitigator: Mitigator | None = None
    ) -> None:
        self.interval = interval
        self._connection = connection
        self._mitigator = mitigator
        self._tally = tally
        self._collector: Collector | None = None
        self._collector_door: Door | None = None
        self._sightings: tuple[Sighting, ...] = ()
        self._state = State()
        self._told: tuple[str, float] | None = None
        self._wanted = asyncio.Event()
        self._published = asyncio.Event()

    @property
    def state(self) -> State:
        """What is known now; nothing that is too old."""
        return self._state.as_of(time.monotonic(), self.interval)

    async def recent(self, most_seconds: float, patience: float) -> State:
        """What is known, of at most `most_seconds` ago if a poll gives that within `patience` seconds."""
        if time.monotonic() - self._state.tried_at > most_seconds:
            self._wanted.set()
            with suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    await self._published.wait()
        return self.state

    async def run(self) -> None:
        """Poll for ever. A poll that is not over when the next is due makes that one be left out."""
        due = time.monotonic()
        while True:
            await self._poll()
            due, missed = next_tick(due, self.interval, time.monotonic())
            self._tally.skipped += missed
            self._wanted.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(due - time.monotonic()):
                    await self._wanted.wait()
                due = time.monotonic()

    async def _poll(self) -> None:
        last_attempt = time.time()
        try:
            door = await self._connection.door()
            began = time.monotonic()
            try:
                state = await self._ask(door, began, last_attempt)
            finally:
                self._tally.durations.add(time.monotonic() - began)
        except ServerError as error:
            self._publish(self._failed(error.state, str(error), last_attempt))
        except Exception as error:
            # A fault of ours must neither end the agent nor look like a healthy server.
            log.exception("poll failed")
            self._publish(self._failed("error", f"internal error: {type(error).__name__}", last_attempt))
        else:
            self._publish(state)
            await self._mitigate(door)

    async def _ask(self, door: Door, began: float, last_attempt: float) -> State:
        snapshot = await self._collect(door).snapshot()
        latency = time.monotonic() - began
        self._sightings = remembered(self._sightings, snapshot.captured_at)
        snapshot = with_memory(snapshot, self._sightings)
        many = len(snapshot.sessions) >= _MANY_SESSIONS
        diagnosis, counted, seen = await asyncio.to_thread(_judge, snapshot) if many else _judge(snapshot)
        self._sightings += (seen,)
        self._tell_connected(diagnosis)
        now = time.monotonic()
        return State(
            connection="connected",
            error=None,
            diagnosis=diagnosis,
            figures=counted,
            slots=(snapshot.server.connections, snapshot.server.max_connections),
            last_success=time.time(),
            last_attempt=last_attempt,
            tried_at=now,
            found_at=began,
            latency=latency,
            duration=now - began,
        )

    def _collect(self, door: Door) -> Collector:
        if self._collector is None or self._collector_door is not door:
            self._collector, self._collector_door = Collector(door), door
        return self._collector

    async def _mitigate(self, door: Door) -> None:
        diagnosis = self.state.diagnosis
        if self._mitigator is None or diagnosis is None:
            return
        try:
            await self._mitigator.consider(diagnosis, door)
        except ServerError as error:
            log.error("mitigation failed", extra={"error": str(error)})
        except Exception:
            log.exception("mitigation failed")

    def _tell_connected(self, diagnosis: Diagnosis) -> None:
        if self._told is None and self._state.last_success is not None:
            return
        server = diagnosis.snapshot.server
        log.info("connected", extra={"server_version": server.version_num, "hidden_sessions": server.hidden_sessions})
        self._told = None

    def _failed(self, connection: str, error: str, last_attempt: float) -> State:
        now = time.monotonic()
        if self._told is None or self._told[0] != connection or now - self._told[1] >= _REMINDER:
            log.warning("server cannot be asked", extra={"state": connection, "error": error})
            self._told = connection, now
        return State(
            connection=connection,
            error=error,
            slots=self._state.slots,
            last_success=self._state.last_success,
            last_attempt=last_attempt,
            tried_at=now,
        )

    def _publish(self, state: State) -> None:
        self._state = state
        published, self._published = self._published, asyncio.Event()
        published.set()


def _judge(snapshot: Snapshot) -> tuple[Diagnosis, Figures, Sighting]:
    diagnosis = diagnose(snapshot)
    return diagnosis, figures(diagnosis), sighting(diagnosis)


def next_tick(due: float, interval: float, now: float) -> tuple[float, int]:
    """When the next poll is due, and how many were missed while the one that was due at `due` ran."""
    missed = max(int((now - due) / interval), 0)
    return due + (missed + 1) * interval, missed
