"""The race between a terminate and its victim, which may have gone on to its next transaction: which one is hit?"""

import asyncio
import random
import threading
from multiprocessing import get_context
from multiprocessing.connection import Connection as Pipe
from typing import NamedTuple

import psycopg
from psycopg import pq

from pgdoctor.model.identity import Identity
from pgdoctor.postgres.connection import Connection
from pgdoctor.postgres.signal import send_signal
from tests.leading import take_the_lead
from tests.scenes.client import wait_until

#: Seconds that a statement of the victim takes. A transaction has 2 to 12 of them.
STATEMENT = 0.001
LONGEST_DELAY = 0.02

_LOCK, _UNLOCK = "select pg_advisory_lock(7)", "select pg_advisory_unlock(7)"
_LOOK = """
    select query, pid, backend_start, xact_start, query_start, state, state_change
    from pg_stat_get_activity(%s) where xact_start is not null and query like '%%-- %%'
"""
_WAITS = "select from pg_locks where locktype = 'advisory' and objid = 7 and not granted"


class TerminateTally(NamedTuple):
    """What became of so many terminates."""

    races: int
    #: Signals that were sent; every victim of one lost its connection.
    sent: int
    #: Those that ended the judged transaction, and those that ended another one, none, or one that had committed.
    right: int
    wrong: int


class Death(NamedTuple):
    """Where a victim lost its connection."""

    #: The number of its transaction, as in its statements; and its id at the server, 0 before it is known.
    number: int
    xid: int


async def race_terminates(dsn: str, races: int, *, longest_delay: float = LONGEST_DELAY) -> TerminateTally:
    """Judge a transaction and end it a random time later, so many times. Whatever is hit is counted."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_run_victim, args=(dsn, theirs), daemon=True)
    process.start()
    waiter = threading.Thread(target=_wait_for_ever, args=(dsn, done := threading.Event()), daemon=True)
    waiter.start()
    sent = right = 0
    dice = random.Random(7)
    async with await Connection.open(dsn) as door:
        await take_the_lead(door)
        with psycopg.connect(dsn, autocommit=True) as control:
            pid = await asyncio.to_thread(ours.recv)
            for _ in range(races):
                wait_until(lambda: control.execute(_WAITS).fetchall())
                number, victim = _judge(control, pid)
                await asyncio.sleep(dice.uniform(0.0, longest_delay))
                if (await send_signal(door, "terminate", victim, min_wait=0)).answer != "sent":
                    continue
                sent += 1
                death = await asyncio.to_thread(ours.recv)
                [(status,)] = control.execute(
                    "select pg_xact_status(nullif(%s, 0)::text::xid8)", [death.xid]
                ).fetchall()
                right += death.number == number and status != "committed"
                pid = await asyncio.to_thread(ours.recv)
    ours.send("enough")
    done.set()
    process.join()
    waiter.join(10)
    return TerminateTally(races, sent, right, sent - right)


def _judge(control: psycopg.Connection, pid: int) -> tuple[int, Identity]:
    """The victim in a transaction, and the transaction's number."""
    while True:
        for said, *columns in control.execute(_LOOK, [pid]).fetchall():
            number = said.rpartition("-- ")[2]
            if number.isdigit():
                return int(number), Identity(*columns)


def _run_victim(dsn: str, pipe: Pipe) -> None:
    """Hold a lock and run one transaction after the other; where the connection is lost, say where, and start again."""
    number, dice = 0, random.Random(11)
    while not pipe.poll():
        connection = pq.PGconn.connect(dsn.encode())
        connection.exec_(_LOCK.encode())
        pipe.send(connection.backend_pid)
        while connection.status == pq.ConnStatus.OK and not pipe.poll():
            number += 1
            xid = 0
            texts = ["begin", "select pg_current_xact_id()", *[f"select pg_sleep({STATEMENT})"] * dice.randint(0, 10)]
            for text in [*texts, "commit"]:
                result = connection.exec_(f"{text} -- {number}".encode())
                if connection.status != pq.ConnStatus.OK:
                    pipe.send(Death(number, xid))
                    break
                if "xact_id" in text:
                    xid = int(result.get_value(0, 0) or 0)
        connection.finish()


def _wait_for_ever(dsn: str, done: threading.Event) -> None:
    """Wait for the victim's lock again and again; give it back at once."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        while not done.is_set():
            connection.execute(_LOCK)
            connection.execute(_UNLOCK)
