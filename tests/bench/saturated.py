"""A storm of 1,000 on a host whose CPUs are all taken: the agent stays up, and shows what the gate finds."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

from pgdoctor.demo.throwaway_server import ThrowawayServer
from tests.bench import crowds
from tests.bench.diagnosis_cost import Loop
from tests.bench.measuring import MeasuredAgent, ending
from tests.bench.table import Round, Row, Stage

SECONDS = 30

#: Processes that compute all the time, for each core.
BUSY = 4


@contextmanager
def _open_saturated() -> Iterator[Round]:
    with ExitStack() as stack:
        server = stack.enter_context(ThrowawayServer(max_connections=crowds.WAITERS + 60))
        agent = stack.enter_context(MeasuredAgent(server.dsn))
        loop = stack.enter_context(Loop())
        loop.enter(crowds.staged(server.dsn, "queue"))
        for _ in range(BUSY * (os.cpu_count() or 1)):
            stack.enter_context(ending(subprocess.Popen([sys.executable, "-c", "while True: pass"])))
        time.sleep(10)
        yield lambda: _watch(agent)


def _watch(agent: MeasuredAgent) -> Mapping[str, float]:
    up, counted, gates, looks = 0, 0, [], []
    for _ in range(SECONDS):
        found, now = agent.metrics(), time.time()
        up += found["pgdoctor_up"] == 1
        counted += found["pgdoctor_blocked_sessions"] >= crowds.WAITERS
        gates.append(now - found["pgdoctor_last_success_timestamp_seconds"])
        looks.append(now - found["pgdoctor_last_full_poll_timestamp_seconds"])
        time.sleep(1)
    return {
        "up": up / SECONDS * 100,
        "counted": counted / SECONDS * 100,
        "gate": max(gates),
        "look": max(looks),
    }


STAGES = (
    Stage(
        (
            Row("up", f"storm of {crowds.WAITERS:,}, host saturated: up", "% of scrapes", 100, at_least=True),
            Row("counted", "  shows all blocked sessions", "% of scrapes", 100, at_least=True),
            Row("gate", "  oldest answer of the server", "s", 10),
            Row("look", "  oldest full poll", "s"),
        ),
        _open_saturated,
        most_rounds=3,
    ),
)
