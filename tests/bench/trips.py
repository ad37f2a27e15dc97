"""Round trips of commands and of an agent's first look, on a line of 50 and of 200 ms, with 50 sessions that wait."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from pgdoctor.demo.server import ThrowawayServer
from tests.bench.measuring import MeasuredAgent, show
from tests.wire import CountingWire

WAITERS = 50
DELAYS = (0.05, 0.2)
_COMMANDS = ("diagnose", "triage", "locks")


def main() -> None:
    with ThrowawayServer() as server, _incident(server.dsn):
        login = _count(server.dsn, 0.05, "import psycopg, sys; psycopg.connect(sys.argv[1])")[0]
        rows = [[name, delay, *_command(server.dsn, delay, name)] for name in _COMMANDS for delay in DELAYS]
        rows += [["agent, first full poll", delay, *_agent(server.dsn, delay)] for delay in DELAYS]
    rows = [[name, delay, trips - login, seconds] for name, delay, trips, seconds in rows]
    title = f"Round trips after a login of {login}, {WAITERS} sessions wait"
    show(title, rows, ("", "round trip, s", "round trips", "seconds in all"))


@contextmanager
def _incident(dsn: str) -> Iterator[None]:
    with ExitStack() as stack:
        admin = stack.enter_context(psycopg.connect(dsn, autocommit=True))
        admin.execute("create table orders (id int primary key, ref int); insert into orders values (1, 1)")
        holder = stack.enter_context(psycopg.connect(dsn))
        holder.execute("update orders set ref = 2 where id = 1")
        for _ in range(WAITERS):
            waiter = psycopg.connect(dsn)
            stack.callback(waiter.close)
            waiter.pgconn.send_query(b"update orders set ref = 3 where id = 1")
        # Old enough not to be taken for a row that changes hands.
        time.sleep(2)
        yield


def _command(dsn: str, delay: float, name: str) -> tuple[int, float]:
    return _count(dsn, delay, "import runpy; runpy.run_module('pgdoctor', run_name='__main__')", name, "--dsn")


def _count(dsn: str, delay: float, code: str, *words: str) -> tuple[int, float]:
    with CountingWire(int(conninfo_to_dict(dsn)["port"]), delay) as wire:
        there = make_conninfo(dsn, port=wire.port)
        began = time.monotonic()
        subprocess.run([sys.executable, "-c", code, *words, there], check=True, stdout=subprocess.DEVNULL)
        return wire.round_trips, time.monotonic() - began


def _agent(dsn: str, delay: float) -> tuple[int, float]:
    with CountingWire(int(conninfo_to_dict(dsn)["port"]), delay) as wire:
        began = time.monotonic()
        with MeasuredAgent(make_conninfo(dsn, port=wire.port)) as agent:
            while agent.metrics()["pgdoctor_blocked_sessions"] != WAITERS:
                time.sleep(0.01)
            return wire.round_trips, time.monotonic() - began
