"""The race between a signal and its victim, which has gone on to its next statement: who is hit?"""

import asyncio
import random
from multiprocessing import get_context
from multiprocessing.connection import Connection as Pipe
from typing import NamedTuple

import psycopg
from psycopg import pq

from pgdoctor.diagnosis.manual_signal import MOVED_ON, write_signal_sql
from pgdoctor.model.identity import Identity
from pgdoctor.model.snapshot import Session
from pgdoctor.postgres.connection import Connection
from pgdoctor.postgres.signal import send_signal, send_signal_by_person
from tests.leading import take_the_lead
from tests.scenes.client import wait_until

#: Seconds that a statement of the victim takes, and at most lie between the poll and the signal.
STATEMENT = 0.004
LONGEST_DELAY = 0.05

_LOCK = "select pg_advisory_lock(7)"
_LOOK = """
    select query, pid, backend_start, xact_start, query_start, state, state_change
    from pg_stat_get_activity(%s) where state = 'active' and query_start > %s
"""
_WAITS = "select from pg_locks where locktype = 'advisory' and objid = 7 and not granted and pid = %s"


class Tally(NamedTuple):
    """What became of so many races by one way of signalling."""

    races: int
    #: Signals that were sent.
    sent: int
    #: Statements that were cancelled: those that had been judged, and others.
    right: int
    wrong: int


async def race(dsn: str, races: int, *, longest_delay: float = LONGEST_DELAY) -> dict[str, Tally]:
    """So many races by each way of signalling, in turn.

    By the statement of mitigation, by that of a person, by the SQL to paste, and by PID alone.
    """
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_victim, args=(dsn, theirs), daemon=True)
    process.start()
    pid = await asyncio.to_thread(ours.recv)
    waiter = psycopg.connect(dsn, autocommit=True)
    waiting = asyncio.create_task(asyncio.to_thread(_wait, waiter))
    sent: dict[str, set[int]] = {"identity": set(), "person": set(), "pasted": set(), "pid alone": set()}
    judged: dict[int, str] = {}
    dice = random.Random(7)
    async with await Connection.open(dsn) as door:
        await take_the_lead(door)
        with psycopg.connect(dsn, autocommit=True) as control:
            wait_until(lambda: control.execute(_WAITS, [waiter.info.backend_pid]).fetchall())
            for _ in range(races):
                for way, signals in sent.items():
                    number, victim = _next(control, pid)
                    judged[number] = way
                    await asyncio.sleep(dice.uniform(0.0, longest_delay))
                    if await _send(way, door, control, victim):
                        signals.add(number)
    ours.send("enough")
    cancelled = await asyncio.to_thread(ours.recv)
    process.join()
    await waiting
    return {way: _counters(way, races, signals, judged, cancelled) for way, signals in sent.items()}


async def _send(way: str, door: Connection, control: psycopg.Connection, victim: Identity) -> bool:
    """Whether a cancel was sent."""
    match way:
        case "identity":
            return (await send_signal(door, "cancel", victim, min_wait=0)).answer == "sent"
        case "person":
            return (await send_signal_by_person(door, "cancel", victim)).answer == "sent"
        case "pasted":
            known = {"backend_start": victim.backend_start, "xact_start": victim.xact_start}
            text = write_signal_sql("cancel", Session(pid=victim.pid, query_start=victim.query_start, **known))
            assert text is not None
            [(said,)] = control.execute(text.encode()).fetchall()
            return said != MOVED_ON
    [(was_sent,)] = control.execute("select pg_cancel_backend(%s)", [victim.pid]).fetchall()
    return bool(was_sent)


def _counters(way: str, races: int, sent: set[int], judged: dict[int, str], cancelled: set[int]) -> Tally:
    """A cancel belongs to the race whose statement was judged last before it: they come one after the other."""
    numbers, right, wrong, place = sorted(judged), 0, 0, -1
    for number in sorted(cancelled):
        while place + 1 < len(numbers) and numbers[place + 1] <= number:
            place += 1
        if judged[numbers[place]] == way:
            hit = number == numbers[place] and number in sent
            right, wrong = right + hit, wrong + (not hit)
    return Tally(races, len(sent), right, wrong)


def _next(control: psycopg.Connection, pid: int) -> tuple[int, Identity]:
    """The victim in a statement that has begun since the last signal, which cannot have hit it; and its number."""
    [(now,)] = control.execute("select clock_timestamp()").fetchall()
    while True:
        for said, *columns in control.execute(_LOOK, [pid, now]).fetchall():
            number = said.rpartition("-- ")[2]
            if number.isdigit():
                return int(number), Identity(*columns)


def _victim(dsn: str, pipe: Pipe) -> None:
    """Holds a lock, and runs one statement after the other as fast as it can; at the end, those that were cancelled."""
    connection = pq.PGconn.connect(dsn.encode())
    connection.exec_(_LOCK.encode())
    pipe.send(connection.backend_pid)
    cancelled, number = set(), 0
    while not pipe.poll():
        result = connection.exec_(f"select pg_sleep({STATEMENT}) -- {number}".encode())
        if result.status == pq.ExecStatus.FATAL_ERROR:
            cancelled.add(number)
        number += 1
    connection.finish()
    pipe.send(cancelled)


def _wait(connection: psycopg.Connection) -> None:
    with connection:
        connection.execute(_LOCK)
