"""Agent and Debian's prometheus-postgres-exporter, side by side at one server: CPU with all backends, and scrapes.

Both are scraped once a second while they are measured, in the same seconds.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import NamedTuple

from pgdoctor.demo.throwaway_server import ThrowawayServer
from tests.bench import crowds
from tests.bench.diagnosis_cost import Loop
from tests.bench.measuring import MeasuredAgent, Scraping, Usage, backends, ending, percentile
from tests.bench.peak import EXPORTER, EXPORTER_URL, SCALE, run_pgbench, start_exporter, start_pgbench
from tests.bench.storm import READERS, _partitioned, _reader
from tests.bench.table import Round, Row, Stage

SECONDS = 20.0
SCRAPERS = 10
SCRAPED_SECONDS = 10.0

#: Seconds that pgbench is given: longer than all rounds of a stage.
_LOAD_SECONDS = 3_600


class Scene(NamedTuple):
    """What happens at the server meanwhile. `goal`: CPU of the agent and its backends, the exporter's being 1."""

    key: str
    text: str
    goal: float
    shape: str | None = None
    waiters: int = 0
    is_loaded: bool = False
    has_locks: bool = False
    #: Scrapes are measured too.
    is_scraped: bool = False


SCENES = (
    Scene("idle", "idle", 0.25),
    Scene("load", "TPC-B, 16 clients", 0.25, is_loaded=True),
    Scene("storm200", "storm of 200", 0.5, "queue", 200),
    Scene("storm200_load", "storm of 200, TPC-B", 0.5, "queue", 200, is_loaded=True),
    Scene("storm1000", "storm of 1,000, 40,000 locks", 0.5, "queue", 1_000, has_locks=True, is_scraped=True),
    Scene("convoy1000", "convoy of 1,000", 1.0, "convoy", 1_000),
)


def _rows_of(scene: Scene) -> tuple[Row, ...]:
    rows = [
        Row(f"{scene.key}_ratio", f"agent + backends : exporter + backends, {scene.text}", "x", scene.goal),
        Row(f"{scene.key}_agent", "  agent", "% of a core"),
        Row(f"{scene.key}_backend", "  its backends", "% of a core"),
        Row(f"{scene.key}_exporter", "  exporter and its backends", "% of a core"),
    ]
    if scene.is_scraped:
        rows.append(
            Row(f"{scene.key}_p50", f"scrape p50, {SCRAPERS} scrapers, agent : exporter, {scene.text}", "x", 0.1)
        )
        rows.append(Row(f"{scene.key}_p99", "  scrape p99 of the agent", "ms", 15))
    return tuple(rows)


@contextmanager
def _open_scene(scene: Scene) -> Iterator[Round]:
    settings = {"max_locks_per_transaction": 256}
    with ExitStack() as stack:
        connections = scene.waiters + READERS + 60
        server = stack.enter_context(ThrowawayServer(max_connections=connections, settings=settings))
        if scene.is_loaded:
            run_pgbench(server, "-i", "-q", "-s", str(SCALE))
        exporter = start_exporter(server.dsn, stack)
        agent = stack.enter_context(MeasuredAgent(server.dsn))
        loop = stack.enter_context(Loop())
        if scene.has_locks:
            loop.run(_partitioned(server.dsn))
            for _ in range(READERS):
                loop.keep(_reader(server.dsn))
        if scene.shape is not None:
            loop.enter(crowds.staged(server.dsn, scene.shape, scene.waiters))
        if scene.is_loaded:
            stack.enter_context(ending(start_pgbench(server, _LOAD_SECONDS)))
        time.sleep(5)

        def measure() -> Mapping[str, float]:
            if exporter is None:
                return {}
            found = _measure_cpu(server.dsn, agent, exporter)
            if scene.is_scraped:
                found |= _measure_scrapes(agent)
            return {f"{scene.key}_{key}": value for key, value in found.items()}

        yield measure


def _measure_cpu(dsn: str, agent: MeasuredAgent, exporter: int) -> dict[str, float]:
    with Scraping(f"{agent.url}/metrics", 1, pause=1.0), Scraping(EXPORTER_URL, 1, pause=1.0):
        time.sleep(2)
        own, backend = Usage([agent.pid]), Usage(agent.backends)
        theirs = Usage([exporter, *backends(dsn, EXPORTER)])
        time.sleep(SECONDS)
        ours = {"agent": own.percent(), "backend": backend.percent(), "exporter": theirs.percent()}
    return {**ours, "ratio": (ours["agent"] + ours["backend"]) / ours["exporter"]}


def _measure_scrapes(agent: MeasuredAgent) -> dict[str, float]:
    ours, theirs = (_scrape(url) for url in (f"{agent.url}/metrics", EXPORTER_URL))
    return {"p50": percentile(ours, 0.5) / percentile(theirs, 0.5), "p99": percentile(ours, 0.99) * 1000}


def _scrape(url: str) -> list[float]:
    with Scraping(url, SCRAPERS, pause=1.0) as scraping:
        time.sleep(SCRAPED_SECONDS)
    return scraping.seconds


STAGES = tuple(Stage(_rows_of(scene), partial(_open_scene, scene), most_rounds=6) for scene in SCENES)
