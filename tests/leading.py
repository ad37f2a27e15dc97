"""The lead at a server, for tests that signal by themselves."""

import asyncio
from datetime import UTC, datetime

from pgdoctor.mitigation.leader import Leader
from pgdoctor.postgres.door import Door


async def take_the_lead(door: Door) -> Leader:
    """Hold the leader lock on this connection; waits for whoever has it."""
    leader = Leader()
    for _ in range(600):
        if await leader.lead(door, "enforce", datetime.now(UTC)):
            return leader
        await asyncio.sleep(0.05)
    raise AssertionError("somebody else leads")
