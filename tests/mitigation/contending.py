"""Contenders for leadership of one server, in several databases, that try at the same moment; some slow, some die."""

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from pgdoctor.enforcement.leader import LeaderElection
from pgdoctor.mitigation.rules import Mode
from pgdoctor.postgres.connection import Connection

NOW = datetime(2026, 5, 22, tzinfo=UTC)

#: Seconds that a slow contender lets pass before each of its statements, at most.
_SLOWEST = 0.005


class SlowDoor(Connection):
    """Lets time pass before each statement: between a lock and the poll after it others get their turn."""

    dice = random.Random(11)
    slowest = _SLOWEST

    async def fetch(self, name: str, **parameters: object) -> Sequence[Any]:
        await asyncio.sleep(self.dice.random() * self.slowest)
        return await super().fetch(name, **parameters)


async def elect(dsns: Sequence[str], rounds: int, mode: Mode = "enforce", seed: int = 11) -> Counter[str]:
    """How many rounds ended with one leader, none, and two, and how many polls they needed; and what was tried.

    In every round some of the contenders are slow, and some databases have several. All poll twice. Then the leader
    dies, or resigns, and the others poll twice again.
    """
    dice = random.Random(seed)
    counted: Counter[str] = Counter()
    doors = [await Connection.open(dsn) for dsn in dsns]
    try:
        for _ in range(rounds):
            contenders = [(LeaderElection(), door) for door in dice.sample(doors, dice.randint(2, len(doors)))]
            for _, door in contenders:
                # Its own class, not another connection: a contender is slow in one round and quick in the next.
                door.__class__ = SlowDoor if dice.random() < 0.5 else Connection
            counted.update(await _polled(contenders, mode, "elected"))
            leading = next((each for each in contenders if each[0].leads), None)
            if leading is None:
                continue
            contenders.remove(leading)
            leader, door = leading
            if dice.random() < 0.5:
                counted["resigned"] += 1
                await leader.resign_leadership()
            else:
                counted["died"] += 1
                doors[doors.index(door)] = await _replaced(door, dsns[doors.index(door)])
            counted.update(await _polled(contenders, mode, "followed"))
            for other, _ in contenders:
                await other.resign_leadership()
    finally:
        for door in doors:
            door.abandon()
    return counted


async def _replaced(door: Connection, dsn: str) -> Connection:
    """A new connection for one that the server has ended: it dies as a killed process does, without a word."""
    other = await Connection.open(dsn)
    await other.connection.execute("select pg_terminate_backend(%s, 60000)", [door.connection.info.backend_pid])
    door.abandon()
    return other


async def _polled(contenders: Sequence[tuple[LeaderElection, Connection]], mode: Mode, what: str) -> list[str]:
    """What two polls of all of them have come to."""
    found = []
    for poll in (1, 2):
        leads = await asyncio.gather(*(leader.try_to_lead(door, mode, NOW) for leader, door in contenders))
        if sum(leads) > 1:
            return [f"{what}: two"]
        if poll == 1 and any(leads):
            found.append(f"{what} at the first poll")
    return [*found, f"{what}: one" if any(leads) else f"{what}: none"]
