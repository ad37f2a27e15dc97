"""One agent with 200 servers: few real ones under many names, quiet, and with an incident on one of them."""

import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import psycopg

from pgdoctor.demo.throwaway_server import ThrowawayServer
from tests.agent.running import series
from tests.bench.measuring import MeasuredAgent, Usage, memory_mb
from tests.bench.table import Round, Row, Stage

SERVERS = 200
REAL_SERVERS = 4

#: Names of the server with the incident, and sessions that wait there.
IN_INCIDENT = 2
WAITERS = 200

#: Seconds between two polls of a server: the default.
INTERVAL = 1.0
SECONDS = 15.0

#: Seconds after which a start is not waited for any longer.
_PATIENCE = 120.0


@contextmanager
def _open_fleet() -> Iterator[Round]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        real = [stack.enter_context(ThrowawayServer(max_connections=WAITERS + 120)) for _ in range(REAL_SERVERS)]
        dsns = [real[0].dsn if number < IN_INCIDENT else real[1 + number % 3].dsn for number in range(SERVERS)]
        config = _write_config(folder, dsns)
        began = time.monotonic()
        agent = stack.enter_context(MeasuredAgent(real[1].dsn, "--config", str(config), environment={}, ready=_listens))
        first = {"start": _seconds_until_polled(agent, began)}

        def measure() -> Mapping[str, float]:
            quiet = Usage([agent.pid])
            late = _worst_lateness(agent)
            values = {"cpu": quiet.percent(), "memory": memory_mb(agent.pid), "late": late}
            values["scrape"] = _scrape_ms(agent)
            with _incident(real[0].dsn):
                time.sleep(2)
                values |= {"late_incident": _worst_lateness(agent), "memory_incident": memory_mb(agent.pid)}
            measured = {**values, **first}
            first.clear()
            return measured

        yield measure


def _write_config(folder: Path, dsns: list[str]) -> Path:
    lines = [f'[journal]\npath = "{folder}/journal.db"']
    for number, dsn in enumerate(dsns):
        path = folder / f"dsn{number}"
        path.write_text(dsn)
        path.chmod(0o600)
        lines.append(f'[[servers]]\nname = "server{number}"\ndsn_file = "{path}"')
    config = folder / "pgdoctor.toml"
    config.write_text("\n".join(lines))
    return config


def _listens(metrics: Mapping[str, float]) -> bool:
    return bool(metrics)


def _ages(agent: MeasuredAgent) -> list[float]:
    """Seconds since the last successful poll of each server."""
    text = httpx.get(f"{agent.url}/metrics", timeout=30).text
    now, name = time.time(), "pgdoctor_last_success_timestamp_seconds{"
    return [now - value for key, value in series(text).items() if key.startswith(name)]


def _seconds_until_polled(agent: MeasuredAgent, began: float) -> float:
    """Seconds until no server is late; at most `_PATIENCE`."""
    while max(_ages(agent)) > 2 * INTERVAL and time.monotonic() - began < _PATIENCE:
        time.sleep(0.2)
    return time.monotonic() - began


def _worst_lateness(agent: MeasuredAgent) -> float:
    """By how many intervals the latest poll of any server came too late."""
    end, worst = time.monotonic() + SECONDS, 0.0
    while time.monotonic() < end:
        worst = max(worst, max(_ages(agent)) / INTERVAL - 1)
        time.sleep(1.0)
    return worst


def _scrape_ms(agent: MeasuredAgent, seconds: float = 10.0) -> float:
    """CPU of a scrape whose values have all changed since the one before."""
    alone = Usage([agent.pid])
    time.sleep(seconds)
    alone_percent, scraped, count = alone.percent(), Usage([agent.pid]), 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        httpx.get(f"{agent.url}/metrics", timeout=30).raise_for_status()
        count += 1
        time.sleep(INTERVAL)
    return (scraped.percent() - alone_percent) / 100 * seconds / count * 1000


@contextmanager
def _incident(dsn: str) -> Iterator[None]:
    with ExitStack() as stack:
        holder = stack.enter_context(psycopg.connect(dsn))
        holder.execute("create table if not exists bench (id int primary key, v int)")
        holder.execute("insert into bench values (1, 0) on conflict do nothing")
        holder.commit()
        holder.execute("update bench set v = 1 where id = 1")
        for _ in range(WAITERS):
            waiter = psycopg.connect(dsn, autocommit=True)
            stack.callback(waiter.close)
            waiter.pgconn.send_query(b"update bench set v = 2 where id = 1")
        yield
        holder.rollback()
        time.sleep(1)


STAGES = (
    Stage(
        (
            Row("start", f"{SERVERS} servers: from the start until all have been polled", "s", 10),
            Row("cpu", f"{SERVERS} servers, settled", "% of a core", 25),
            Row("memory", f"{SERVERS} servers, memory (RSS)", "MB", 150),
            Row("memory_incident", "  in an incident", "MB", 150),
            Row("late", "latest poll of any server, intervals too late", "", 1),
            Row("late_incident", "  in an incident", "", 1),
            Row("scrape", f"scrape of {SERVERS} servers, CPU", "ms", 50),
        ),
        _open_fleet,
        most_rounds=6,
    ),
)
