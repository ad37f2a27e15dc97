"""Looks at one server, each judged with what the looks before it have seen."""

import asyncio
import time

from msgspec.structs import replace

from pgdoctor.diagnosis.diagnosis import Diagnosis
from pgdoctor.diagnosis.former_holders import worth_a_second_look
from pgdoctor.diagnosis.memory import Memory
from pgdoctor.diagnosis.surroundings import Surroundings
from pgdoctor.postgres.collect import Collector

#: Seconds between the two looks at a row that may be a hot one.
_SECOND_LOOK = 0.3


class Watch:
    """A collector and a memory of its own."""

    def __init__(self, collector: Collector) -> None:
        self._collector = collector
        self._memory = Memory()
        self._surroundings: Surroundings | None = None
        #: When the last look had been read, and was yet to be judged, on the monotonic clock.
        self.read_at = 0.0

    async def survey(self) -> None:
        """Read what stands around the waits, for the looks from now on."""
        self._surroundings = await self._collector.surroundings()

    async def look(self) -> Diagnosis:
        """The diagnosis of the server, now. Where a row may change hands it looks twice: one look cannot tell."""
        diagnosis = await self._once()
        if not worth_a_second_look(diagnosis):
            return diagnosis
        await asyncio.sleep(_SECOND_LOOK)
        return await self._once()

    async def _once(self) -> Diagnosis:
        snapshot = await self._collector.snapshot(even_if_quiet=True)
        self.read_at = time.monotonic()
        return self._memory.judge(replace(snapshot, surroundings=self._surroundings))
