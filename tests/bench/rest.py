"""The agent on a quiet server, one poll a second: by itself, and with a scrape a second."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from pgdoctor.demo.throwaway_server import ThrowawayServer
from tests.bench.measuring import MeasuredAgent, Scraping, Usage, memory_mb
from tests.bench.table import Round, Row, Stage

SECONDS = 20.0

#: Polls and scrapes in a second where the cost of a scrape is measured, each after a poll of its own.
RATE = 10


@contextmanager
def _open_resting() -> Iterator[Round]:
    with ThrowawayServer() as server, MeasuredAgent(server.dsn) as agent:
        time.sleep(5)
        sessions = agent.backends

        def measure() -> Mapping[str, float]:
            own, theirs = Usage([agent.pid]), Usage(sessions)
            time.sleep(SECONDS)
            return {
                "agent": own.percent(),
                "backend": theirs.percent(),
                "memory": memory_mb(agent.pid),
                "connections": float(len(agent.backends)),
            }

        yield measure


@contextmanager
def _open_scraped() -> Iterator[Round]:
    with ThrowawayServer() as server, MeasuredAgent(server.dsn, "--interval", f"{1000 // RATE}ms") as agent:
        time.sleep(5)

        def measure() -> Mapping[str, float]:
            alone = Usage([agent.pid])
            time.sleep(SECONDS / 2)
            alone_percent, scraped = alone.percent(), Usage([agent.pid])
            with Scraping(f"{agent.url}/metrics", 1, pause=1 / RATE) as scraping:
                time.sleep(SECONDS / 2)
                used = scraped.percent()
            return {"scrape": (used - alone_percent) * SECONDS / 2 / len(scraping.seconds)}

        yield measure


STAGES = (
    Stage(
        (
            Row("agent", "agent at rest", "% of a core", 0.3),
            Row("backend", "its backend at rest", "% of a core", 0.1),
            Row("memory", "its memory (RSS)", "MB", 60),
            Row("connections", "its connections", "", 1),
        ),
        _open_resting,
        most_rounds=6,
    ),
    Stage((Row("scrape", "a scrape a second at rest", "% of a core", 0.05),), _open_scraped),
)
