"""Looking at a server as the agent does: again and again, over one connection, remembering what was seen before."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import psycopg

from pgdoctor.model.diagnosis import Diagnosis, Finding
from pgdoctor.postgres.collect import Collector
from pgdoctor.postgres.connection import Connection
from pgdoctor.postgres.server_watch import ServerWatch
from tests.scenes.client import wait_until

#: Seconds between two polls, from which on they tell a pace.
APART = 1.1


class Observer:
    """One connection and one memory."""

    def __init__(self, runner: asyncio.Runner, door: Connection) -> None:
        self._runner = runner
        self._watch = ServerWatch(Collector(door))

    def look(self) -> Diagnosis:
        """The diagnosis of now, the surroundings read again."""
        return self._runner.run(self._look())

    def note(self, kind: str) -> Finding:
        """The only finding of a kind, now."""
        [found] = [note for note in self.look().findings if note.kind == kind]
        return found

    def wait_for(self, kind: str, timeout: float = 30.0) -> Finding:
        """Look until a finding is there."""

        def found() -> list[Finding]:
            time.sleep(APART)
            return [note for note in self.look().findings if note.kind == kind]

        return wait_until(found, timeout, kind)[0]

    async def _look(self) -> Diagnosis:
        await self._watch.read_server_context()
        return await self._watch.diagnose_server()


@contextmanager
def observer(dsn: str) -> Iterator[Observer]:
    """An observer of a server, connected from now on."""
    with asyncio.Runner() as runner:
        door = runner.run(Connection.open(dsn, 10.0))
        try:
            yield Observer(runner, door)
        finally:
            runner.run(door.close())


def kinds(diagnosis: Diagnosis) -> list[str]:
    """The kinds of its findings."""
    return [note.kind for note in diagnosis.findings]


@contextmanager
def clients(dsn: str, number: int, work: Callable[[psycopg.Connection], object]) -> Iterator[threading.Event]:
    """So many clients who do their work again and again."""
    over = threading.Event()

    def run() -> None:
        with psycopg.connect(dsn, application_name="checkout", autocommit=True) as connection:
            while not over.is_set():
                work(connection)

    with ThreadPoolExecutor(number) as pool:
        running = [pool.submit(run) for _ in range(number)]
        try:
            yield over
        finally:
            over.set()
    for each in running:
        each.result()
