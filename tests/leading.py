"""Leadership at a server, for tests that signal by themselves."""

import asyncio
from datetime import UTC, datetime

from pgdoctor.enforcement.leader import LeaderElection
from pgdoctor.postgres.connection import Connection


async def take_the_lead(door: Connection) -> LeaderElection:
    """Hold the leader lock on this connection; waits for its holder."""
    leader = LeaderElection()
    for _ in range(600):
        if await leader.try_to_lead(door, "enforce", datetime.now(UTC)):
            return leader
        await asyncio.sleep(0.05)
    raise AssertionError("somebody else leads")
