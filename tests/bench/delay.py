"""From the moment a session starts to wait until /metrics shows it, one poll a second."""

import random
import threading
import time

import psycopg

from pgdoctor.demo.throwaway_server import ThrowawayServer
from tests.bench.measuring import MeasuredAgent, percentile, show

ROUNDS = 60
_LOOK_SECONDS = 0.01


def main() -> None:
    with ThrowawayServer() as server, MeasuredAgent(server.dsn) as agent:
        with psycopg.connect(server.dsn, autocommit=True) as setup:
            setup.execute("create table bench (id int primary key); insert into bench values (1)")
        delays = [_round(server.dsn, agent) for _ in range(ROUNDS)]
    rows = [
        ["p50, s", percentile(delays, 0.5), ""],
        ["p99, s", percentile(delays, 0.99), "< 1.3: one interval and 0.3 s"],
    ]
    show(f"From wait to /metrics, {ROUNDS} rounds", rows, ("", "value", "bound"))


def _round(dsn: str, agent: MeasuredAgent) -> float:
    with psycopg.connect(dsn) as holder, psycopg.connect(dsn) as waiter:
        holder.execute("select from bench where id = 1 for update")
        time.sleep(random.uniform(0.0, 1.0))
        began = time.monotonic()
        waiting = threading.Thread(target=waiter.execute, args=("select from bench where id = 1 for update",))
        waiting.start()
        delay = _until(agent, 1.0, began)
        holder.rollback()
        waiting.join()
        waiter.rollback()
    _until(agent, 0.0, began)
    return delay


def _until(agent: MeasuredAgent, blocked: float, began: float) -> float:
    while agent.metrics()["pgdoctor_blocked_sessions"] != blocked:
        time.sleep(_LOOK_SECONDS)
    return time.monotonic() - began
