"""What a server with 2,000 idle sessions pays for an agent: one poll a second."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import psycopg

from pgdoctor.demo.throwaway_server import ThrowawayServer
from tests.bench.measuring import MeasuredAgent, Usage
from tests.bench.table import Round, Row, Stage

SESSIONS = 2_000
SECONDS = 20.0


@contextmanager
def _open_idle() -> Iterator[Round]:
    with ThrowawayServer(max_connections=SESSIONS + 20) as server:
        crowd = [psycopg.connect(server.dsn, autocommit=True) for _ in range(SESSIONS)]
        with MeasuredAgent(server.dsn) as agent:
            # Until the first costs, taken while all was cold, are forgotten.
            time.sleep(30)

            def measure() -> Mapping[str, float]:
                backend = Usage(agent.backends)
                time.sleep(SECONDS)
                return {"backend": backend.percent()}

            yield measure
        for client in crowd:
            client.pgconn.finish()


STAGES = (
    Stage(
        (Row("backend", f"the agent's backend, {SESSIONS:,} idle sessions", "% of a core", 0.3),),
        _open_idle,
        most_rounds=6,
    ),
)
