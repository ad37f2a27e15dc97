"""Records what the signals do on a real server through staged days: `python -m tests.thresholds.recorder FILE`.

A load that swells and ebbs once a "day" of 288 seconds, with what is usual on a server: short waits for rows, and a
batch at the same hour of each day; and, from the second day on, incidents of several kinds and sizes. A row a second:
the six signals as the agent reads them, and which incident was staged then. A reader may let each second stand
for five minutes. It takes 34 minutes.
"""

import asyncio
import contextlib
import math
import random
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import psycopg

from pgdoctor.agent.polling.pacing import Pacing
from pgdoctor.agent.polling.poll import PollRunner
from pgdoctor.baseline.thresholds import signal_readings
from pgdoctor.config.config import AgentSettings
from pgdoctor.demo.throwaway_server import ThrowawayServer
from pgdoctor.model.anomaly_signals import SIGNALS
from pgdoctor.postgres.connection import Connection

DAY = 288
DAYS = 7
SEED = 20261125

#: Clients at night, and how many come at noon.
_NIGHT, _SWELL = 10, 26

#: When in the day the batch runs, and for how long.
_BATCH, _BATCH_SECONDS = 30, 16
_BATCH_CLIENTS = 5


class Staged(NamedTuple):
    """An incident: its kind, its size in sessions, and the seconds from the start at which it begins and ends."""

    kind: str
    size: int
    begin: int
    end: int


#: Sizes of each kind; a forgotten transaction is always one.
SIZES = {
    "queue": (2, 4, 8, 16),
    "row": (3, 6, 12, 24),
    "flood": (10, 20, 40),
    "pileup": (6, 12, 24),
    "forgotten": (1,),
}

_LENGTH = {"forgotten": (25, 40)}
_USUAL_LENGTH = (10, 22)
_PAUSE = (28, 45)


def schedule() -> Iterator[Staged]:
    """All incidents, in order; never in the hour of the batch."""
    dice = random.Random(SEED)
    second = DAY + 20
    kinds: list[str] = []
    while True:
        if not kinds:
            kinds = dice.sample(sorted(SIZES), len(SIZES))
        kind = kinds.pop()
        length = dice.randint(*_LENGTH.get(kind, _USUAL_LENGTH))
        in_day = second % DAY
        if in_day < _BATCH + _BATCH_SECONDS + 10 and in_day + length > _BATCH - 10:
            second += _BATCH + _BATCH_SECONDS + 10 - in_day
        if second + length > DAYS * DAY:
            return
        yield Staged(kind, dice.choice(SIZES[kind]), second, second + length)
        second += length + dice.randint(*_PAUSE)


class Load:
    """Clients, hiccups, batch and incidents, in a loop and thread of their own."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._began = time.monotonic()
        self._dice = random.Random(SEED)
        self._is_over = False
        self._thread = threading.Thread(target=self._drive, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """The server may go: that its clients fail is no longer a fault."""
        self._is_over = True

    def _drive(self) -> None:
        try:
            asyncio.run(self._run())
        except psycopg.OperationalError:
            if not self._is_over:
                raise

    @property
    def second(self) -> float:
        """Since the start."""
        return time.monotonic() - self._began

    async def _run(self) -> None:
        parts = [self._client(place) for place in range(_NIGHT + _SWELL)]
        parts += [self._hiccups(), self._batches(), self._incidents()]
        await asyncio.gather(*parts)

    def _wanted(self) -> float:
        """How many clients there are to be now."""
        height = max(math.sin((self.second % DAY / DAY - 0.3) * 2 * math.pi), 0.0)
        return _NIGHT + _SWELL * height

    async def _client(self, place: int) -> None:
        while True:
            while self._wanted() <= place:  # noqa: ASYNC110
                await asyncio.sleep(0.5)
            async with self._connected("app") as client:
                while self._wanted() > place:
                    await client.execute("begin")
                    await client.execute("update account set v = v + 1 where id = %s", [place])
                    await client.execute("select pg_sleep(%s)", [self._dice.uniform(0.02, 0.25)])
                    await client.execute("commit")
                    await asyncio.sleep(self._dice.expovariate(1 / 0.6))

    async def _hiccups(self) -> None:
        """One to three sessions wait for a row for a second or two, about twice a minute."""
        while True:
            await asyncio.sleep(self._dice.uniform(15, 45))
            await self._blocked(self._dice.randint(1, 3), self._dice.uniform(0.8, 2.0))

    async def _batches(self) -> None:
        for day in range(DAYS):
            await self._until(day * DAY + _BATCH)
            await self._busy(_BATCH_CLIENTS, _BATCH_SECONDS)

    async def _incidents(self) -> None:
        for staged in schedule():
            await self._until(staged.begin)
            await getattr(self, f"_{staged.kind}")(staged.size, staged.end - self.second)

    async def _until(self, second: float) -> None:
        await asyncio.sleep(max(second - self.second, 0.0))

    async def _row(self, size: int, seconds: float) -> None:
        await self._blocked(size, seconds)

    async def _blocked(self, size: int, seconds: float) -> None:
        async with self._connected("holder") as holder, self._crowd("waiter", size) as crowd:
            await holder.execute("begin")
            await holder.execute("update account set v = 0 where id = 1000")
            waits = [_quietly(each.execute("update account set v = 1 where id = 1000")) for each in crowd]
            await self._released(holder, waits, seconds)

    async def _queue(self, size: int, seconds: float) -> None:
        async with (
            self._connected("report") as holder,
            self._connected("deploy") as deploy,
            self._crowd("reader", size) as crowd,
        ):
            await holder.execute("begin")
            await holder.execute("select count(*) from ledger")
            altering = asyncio.create_task(_quietly(deploy.execute("alter table ledger add if not exists w int")))
            await asyncio.sleep(0.3)
            waits = [_quietly(each.execute("select count(*) from ledger")) for each in crowd]
            await self._released(holder, [*waits, altering], seconds)

    async def _released(self, holder: psycopg.AsyncConnection[Any], waits: list[Any], seconds: float) -> None:
        waiting = asyncio.gather(*waits)
        await asyncio.sleep(seconds)
        await holder.execute("rollback")
        await waiting

    async def _flood(self, size: int, seconds: float) -> None:
        async with self._crowd("leak", size):
            await asyncio.sleep(seconds)

    async def _pileup(self, size: int, seconds: float) -> None:
        await self._busy(size, seconds)

    async def _busy(self, size: int, seconds: float) -> None:
        async with self._crowd("slow", size) as crowd:
            await asyncio.gather(*(each.execute("select pg_sleep(%s)", [seconds]) for each in crowd))

    async def _forgotten(self, _: int, seconds: float) -> None:
        async with self._connected("forgotten") as client:
            await client.execute("begin")
            await client.execute("select 1")
            await asyncio.sleep(seconds)

    @asynccontextmanager
    async def _connected(self, application: str) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        connecting = psycopg.AsyncConnection.connect(self._dsn, autocommit=True, application_name=application)
        async with await connecting as client:
            yield client

    @asynccontextmanager
    async def _crowd(self, application: str, size: int) -> AsyncIterator[list[psycopg.AsyncConnection[Any]]]:
        async with contextlib.AsyncExitStack() as stack:
            yield [await stack.enter_async_context(self._connected(application)) for _ in range(size)]


async def _quietly(work: Any) -> None:
    with contextlib.suppress(psycopg.Error):
        await work


async def record(dsn: str, file: Path) -> None:
    """Write the file, a row a second, while the load runs."""
    labels = {second: f"{each.kind}-{each.size}" for each in schedule() for second in range(each.begin, each.end)}
    load = Load(dsn)
    load.start()
    runner = PollRunner(AgentSettings(), Pacing())
    async with await Connection.open(dsn) as door:
        with file.open("w", encoding="utf-8") as out:
            out.write(",".join(("second", *SIGNALS, "incident")) + "\n")
            for second in range(DAYS * DAY):
                await asyncio.sleep(max(second + 0.5 - load.second, 0.0))
                found = await runner.examine(door)
                counted = found.figures
                values = signal_readings(
                    found.server, found.lock_waiters, counted.blocked_sessions, counted.oldest_wait
                )
                row = ",".join(f"{round(values[name], 2):g}" for name in SIGNALS)
                out.write(f"{second},{row},{labels.get(second, '')}\n")
                out.flush()
    load.stop()


def main(file: str) -> None:
    with ThrowawayServer(max_connections=100) as server:
        with psycopg.connect(server.dsn, autocommit=True) as setup:
            setup.execute("create table account (id int primary key, v int)")
            setup.execute("insert into account select i, 0 from generate_series(0, 1000) i")
            setup.execute("create table ledger (id int)")
        asyncio.run(record(server.dsn, Path(file)))


if __name__ == "__main__":
    main(sys.argv[1])
