"""Round trips and seconds of one-shots and of an agent's first full poll on a slow line, with 50 waiting sessions."""

import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from pgdoctor.demo.throwaway_server import ThrowawayServer
from tests.bench.measuring import MeasuredAgent
from tests.bench.table import Round, Row, Stage
from tests.wire import CountingWire

WAITERS = 50

#: Seconds of a round trip: a line that is near, and one that is far.
NEAR, FAR = 0.05, 0.2

#: Of an agent on the far line.
_FULL_POLLS = 10

_LOGIN = "import psycopg, sys; psycopg.connect(sys.argv[1])"
_COMMAND = "import runpy; runpy.run_module('pgdoctor', run_name='__main__')"


@contextmanager
def _open_line() -> Iterator[Round]:
    with ThrowawayServer() as server, _incident(server.dsn):
        login = _count(server.dsn, NEAR, _LOGIN)[0]

        def measure() -> Mapping[str, float]:
            diagnose = [_count(server.dsn, delay, _COMMAND, "diagnose", "--dsn") for delay in (NEAR, FAR)]
            triage = _count(server.dsn, NEAR, _COMMAND, "triage", "--dsn")
            trips, seconds, gap = _start_agent(server.dsn, FAR)
            return {
                "diagnose": diagnose[0][0] - login,
                "diagnose_near": diagnose[0][1],
                "diagnose_far": diagnose[1][1],
                "triage": triage[0] - login,
                "agent": trips - login,
                "agent_far": seconds,
                "agent_gap": gap,
            }

        yield measure


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


def _count(dsn: str, delay: float, code: str, *words: str) -> tuple[int, float]:
    """Round trips and seconds of a program."""
    with CountingWire(int(conninfo_to_dict(dsn)["port"]), delay) as wire:
        there = make_conninfo(dsn, port=wire.port)
        began = time.monotonic()
        subprocess.run([sys.executable, "-c", code, *words, there], check=True, stdout=subprocess.DEVNULL)
        return wire.round_trips, time.monotonic() - began


def _start_agent(dsn: str, delay: float) -> tuple[int, float, float]:
    """Round trips and seconds until the agent shows the incident, and from then on between full polls."""
    with CountingWire(int(conninfo_to_dict(dsn)["port"]), delay) as wire:
        began = time.monotonic()
        with MeasuredAgent(make_conninfo(dsn, port=wire.port)) as agent:
            while agent.metrics()["pgdoctor_blocked_sessions"] != WAITERS:
                time.sleep(0.01)
            trips, seconds = wire.round_trips, time.monotonic() - began
            return trips, seconds, _seconds_between_full_polls(agent)


def _seconds_between_full_polls(agent: MeasuredAgent) -> float:
    """The mean of some polls."""
    began: list[float] = []
    while len(began) <= _FULL_POLLS:
        latest = agent.metrics()["pgdoctor_last_full_poll_timestamp_seconds"]
        if not began or latest != began[-1]:
            began.append(latest)
        time.sleep(0.1)
    return (began[-1] - began[0]) / _FULL_POLLS


STAGES = (
    Stage(
        (
            Row("diagnose", "diagnose: round trips after the login", "", 6),
            Row("triage", "triage: round trips after the login", "", 8),
            Row("agent", "agent: round trips to its first full poll", "", 6),
            Row("diagnose_near", f"diagnose of {WAITERS} waiters, {NEAR * 1000:g} ms a round trip", "s", 0.8),
            Row("diagnose_far", f"  {FAR * 1000:g} ms", "s", 2),
            Row("agent_far", f"agent: from its start to the incident, {FAR * 1000:g} ms", "s", 2),
            Row("agent_gap", "  from one full poll to the next, every second", "s", 1.05),
        ),
        _open_line,
        most_rounds=6,
    ),
)
