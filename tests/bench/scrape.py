"""Ten scrapers of a quiet server, of the agent and of Debian's prometheus-postgres-exporter in turn."""

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

from pgdoctor.demo.throwaway_server import ThrowawayServer
from tests.bench.measuring import MeasuredAgent, Scraping, percentile
from tests.bench.peak import EXPORTER_URL, start_exporter
from tests.bench.table import Round, Row, Stage

SCRAPERS = 10
SECONDS = 10.0


@contextmanager
def _open_idle() -> Iterator[Round]:
    with ThrowawayServer() as server, MeasuredAgent(server.dsn) as agent, ExitStack() as running:
        has_exporter = start_exporter(server.dsn, running) is not None

        def measure() -> Mapping[str, float]:
            ours = _seconds(f"{agent.url}/metrics")
            values = {"p50": percentile(ours, 0.5) * 1000}
            if has_exporter:
                values["ratio"] = percentile(ours, 0.5) / percentile(_seconds(EXPORTER_URL), 0.5)
            return values

        yield measure


def _seconds(url: str) -> list[float]:
    with Scraping(url, SCRAPERS, pause=1.0) as scraping:
        time.sleep(SECONDS)
    return scraping.seconds


STAGES = (
    Stage(
        (
            Row("p50", f"scrape p50, {SCRAPERS} scrapers, idle", "ms"),
            Row("ratio", "  against the exporter", "", 0.1),
        ),
        _open_idle,
        most_rounds=8,
    ),
)
