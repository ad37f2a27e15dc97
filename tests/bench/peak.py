"""pgbench's TPC-B at full load: what the agent takes, beside Debian's prometheus-postgres-exporter if it is there.

Both are scraped once a second. Transactions per second are compared in paired slices: the agent at work, and stopped
(SIGSTOP), in turn; the order changes from pair to pair.
"""

import os
import re
import shutil
import signal
import statistics
import subprocess
import time
from contextlib import ExitStack
from typing import Any
from urllib.parse import quote

import psycopg
from psycopg.conninfo import conninfo_to_dict

from pgdoctor.demo.throwaway_server import ThrowawayServer
from tests.bench.measuring import (
    MeasuredAgent,
    Scraping,
    Usage,
    backends,
    ending,
    find_free_port,
    host_memory_mb,
    memory_mb,
    show,
)

CLIENTS = 16
SCALE = 20
SIDE_BY_SIDE_SECONDS = 60
PAIRS = 10
SLICE_SECONDS = 6

EXPORTER = "prometheus-postgres-exporter"
_EXPORTER_PORT = find_free_port()
EXPORTER_URL = f"http://127.0.0.1:{_EXPORTER_PORT}/metrics"


def main() -> None:
    with ThrowawayServer() as server:
        run_pgbench(server, "-i", "-q", "-s", str(SCALE))
        with MeasuredAgent(server.dsn) as agent:
            _side_by_side(server, agent)
            _paired_slices(server, agent)


def _side_by_side(server: ThrowawayServer, agent: MeasuredAgent) -> None:
    with ExitStack() as running:
        exporter = start_exporter(server.dsn, running)
        if exporter:
            running.enter_context(Scraping(EXPORTER_URL, 1, pause=1.0))
        load = running.enter_context(ending(start_pgbench(server, SIDE_BY_SIDE_SECONDS + 10)))
        running.enter_context(Scraping(f"{agent.url}/metrics", 1, pause=1.0))
        time.sleep(5)
        rows = [["pgdoctor", agent.pid, agent.backends]]
        if exporter:
            rows.append([EXPORTER, exporter, backends(server.dsn, EXPORTER)])
        usages = [(Usage([pid]), Usage(sessions)) for _, pid, sessions in rows]
        time.sleep(SIDE_BY_SIDE_SECONDS)
        table = [_line(name, pid, *usage) for (name, pid, _), usage in zip(rows, usages, strict=True)]
        assert load.poll() is None
    headers = ("", "CPU, % of a core", "its backends", "both", "both, % of the host", "RSS, MB", "RSS, % of the host")
    show(f"pgbench TPC-B, {CLIENTS} clients, scraped once a second (bound: 1.5 % of the host)", table, headers)


def _line(name: str, pid: int, own: Usage, theirs: Usage) -> list[Any]:
    cpu, backend, rss = own.percent(), theirs.percent(), memory_mb(pid)
    host = (cpu + backend) / (os.cpu_count() or 1)
    return [name, cpu, backend, cpu + backend, host, rss, rss / host_memory_mb() * 100]


def start_exporter(dsn: str, running: ExitStack) -> int | None:
    """The exporter's PID; None where it is not installed."""
    program = shutil.which(EXPORTER)
    if program is None:
        print(f"({EXPORTER} is not installed: nothing to compare with)\n")
        return None
    parts = conninfo_to_dict(dsn)
    password = quote(str(parts["password"]), safe="")
    where = f"postgresql://{parts['user']}:{password}@{parts['host']}:{parts['port']}/postgres"
    process = subprocess.Popen(
        [program, f"--web.listen-address=127.0.0.1:{_EXPORTER_PORT}", "--log.level=error"],
        env={**os.environ, "DATA_SOURCE_NAME": f"{where}?sslmode=disable&application_name={EXPORTER}"},
        stderr=subprocess.DEVNULL,
    )
    running.enter_context(ending(process))
    time.sleep(2)
    return process.pid


def _paired_slices(server: ThrowawayServer, agent: MeasuredAgent) -> None:
    """Ratio of transactions per second with the agent at work to those without."""
    ratios = []
    with psycopg.connect(server.dsn, autocommit=True) as watching, ending(start_pgbench(server, 10_000)):
        time.sleep(3)
        for pair in range(PAIRS):
            order = (signal.SIGCONT, signal.SIGSTOP) if pair % 2 else (signal.SIGSTOP, signal.SIGCONT)
            rates = {}
            for number in order:
                agent.send(number)
                time.sleep(0.5)
                rates[number] = _rate(watching)
            ratios.append(rates[signal.SIGCONT] / rates[signal.SIGSTOP])
        agent.send(signal.SIGCONT)
    spread = statistics.stdev(ratios) / PAIRS**0.5
    rows = [["with the agent : without, mean of pairs", statistics.mean(ratios)], ["  standard error", spread]]
    show(f"Transactions per second, {PAIRS} pairs of slices of {SLICE_SECONDS} s", rows, ("", "ratio"))


def _rate(watching: psycopg.Connection[Any]) -> float:
    before, began = _position(watching), time.monotonic()
    time.sleep(SLICE_SECONDS)
    return (_position(watching) - before) / (time.monotonic() - began)


def _position(watching: psycopg.Connection[Any]) -> int:
    """Transaction ids given out: one for each TPC-B transaction, and counted at once."""
    [(found,)] = watching.execute("select pg_snapshot_xmax(pg_current_snapshot())::text::int8").fetchall()
    return int(found)


def start_pgbench(server: ThrowawayServer, seconds: int) -> subprocess.Popen[bytes]:
    command, environment = _command(server, "-n", "-c", str(CLIENTS), "-j", "2", "-T", str(seconds))
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def run_pgbench(server: ThrowawayServer, *words: str) -> None:
    command, environment = _command(server, *words)
    subprocess.run(command, env=environment, check=True, capture_output=True)


def _command(server: ThrowawayServer, *words: str) -> tuple[list[str], dict[str, str]]:
    parts = conninfo_to_dict(server.dsn)
    where = {f"PG{name.upper()}": str(value) for name, value in parts.items() if re.fullmatch("host|port|user", name)}
    environment = {**os.environ, **where, "PGPASSWORD": str(parts["password"]), "PGDATABASE": "postgres"}
    return [str(server.bindir / "pgbench"), *words], environment
