"""A row that every session wants: `orders` with id 1, updated all the time by sessions that keep it for a moment."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event

import psycopg

from pgdoctor.diagnosis.blocker.blocker_facts import LONG_QUEUE
from pgdoctor.diagnosis.diagnose import diagnose
from tests.looking import snapshot
from tests.scenes.client import wait_until


@contextmanager
def hammering(dsn: str, clients: int, pause: Callable[[psycopg.Connection], None]) -> Iterator[None]:
    """Returns once several of them queue; at the end none of them may have been disturbed."""
    over = Event()

    def hammer() -> None:
        with psycopg.connect(dsn, application_name="hammer") as connection:
            while not over.is_set():
                connection.execute("update orders set v = v + 1 where id = 1")
                pause(connection)
                connection.commit()

    with ThreadPoolExecutor(clients) as pool:
        hammers = [pool.submit(hammer) for _ in range(clients)]
        try:
            wait_until(lambda: diagnose(snapshot(dsn)).blocked_sessions >= LONG_QUEUE)
            yield
        finally:
            over.set()
    for each in hammers:
        each.result()


def running(connection: psycopg.Connection) -> None:
    """Keep the row by a statement that runs."""
    connection.execute("select pg_sleep(0.05)")


def idling(_: psycopg.Connection) -> None:
    """Keep the row by doing nothing."""
    time.sleep(0.05)
