"""Memory of an agent over a day's worth of storms, one after the other."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager

import psycopg

from pgdoctor.demo.throwaway_server import ThrowawayServer
from tests.bench.measuring import MeasuredAgent, memory_mb
from tests.bench.table import Round, Row, Stage

WAITERS = 200

#: Storms of a round, and rounds: one storm for each hour of a day.
STORMS = 8
ROUNDS = 3

#: Seconds of a storm, once all its sessions wait, and after which nothing is waited for any longer.
SECONDS = 4.0
_PATIENCE = 120.0


@contextmanager
def _open_storms() -> Iterator[Round]:
    with ExitStack() as stack:
        server = stack.enter_context(ThrowawayServer(max_connections=WAITERS + 60))
        agent = stack.enter_context(MeasuredAgent(server.dsn))
        holder = stack.enter_context(psycopg.connect(server.dsn))
        holder.execute("create table bench (id int primary key, v int); insert into bench values (1, 0)")
        holder.commit()
        _run_storm(server.dsn, holder, agent)
        first = memory_mb(agent.pid)

        def measure() -> Mapping[str, float]:
            for _ in range(STORMS):
                _run_storm(server.dsn, holder, agent)
            return {"growth": memory_mb(agent.pid) / first, "peak": memory_mb(agent.pid, "VmHWM")}

        yield measure


def _run_storm(dsn: str, holder: "psycopg.Connection[tuple[object, ...]]", agent: MeasuredAgent) -> None:
    holder.execute("update bench set v = 1 where id = 1")
    waiters = [psycopg.connect(dsn, autocommit=True) for _ in range(WAITERS)]
    for number, waiter in enumerate(waiters):
        waiter.pgconn.send_query(f"update bench set v = {number} where id = 1".encode())
    _wait_until(lambda: agent.metrics()["pgdoctor_blocked_sessions"] == WAITERS)
    time.sleep(SECONDS)
    holder.rollback()
    _wait_until(lambda: agent.metrics()["pgdoctor_blocked_sessions"] == 0)
    for waiter in waiters:
        waiter.close()
    time.sleep(2)


def _wait_until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + _PATIENCE
    while not holds():
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(0.2)


STAGES = (
    Stage(
        (
            Row(
                "growth",
                f"memory after {STORMS} to {STORMS * ROUNDS} more storms of {WAITERS} : after the first",
                "x",
                1.1,
            ),
            Row("peak", "  highest", "MB"),
        ),
        _open_storms,
        most_rounds=ROUNDS,
    ),
)
