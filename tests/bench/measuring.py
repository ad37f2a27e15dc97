"""Stopwatches: CPU of processes and backends, memory, an agent and its scrapers."""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import httpx
import psycopg
from tabulate import tabulate

from tests.agent.running import series


def show(title: str, rows: Sequence[Sequence[Any]], headers: Sequence[str] = ("", "value")) -> None:
    """A table under a heading."""
    print(f"## {title}\n\n{tabulate(rows, headers, floatfmt='.2f')}\n", flush=True)


def cpu_seconds(pid: int) -> float:
    """CPU time of a process with all its threads, those that have ended too, to the nanosecond. Raises OSError."""
    # The kernel's name for the CPU clock of another process (clock_getcpuclockid).
    return time.clock_gettime((~pid << 3) | 2)


def backend_ms(pid: int) -> float:
    """CPU time of a backend in milliseconds."""
    return cpu_seconds(pid) * 1000


def memory_mb(pid: int, what: str = "VmRSS") -> float:
    """Memory of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith(f"{what}:"))


def host_memory_mb() -> float:
    """All memory of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**20


def percentile(values: Iterable[float], share: float) -> float:
    """The value that this share of all does not exceed."""
    ordered = sorted(values)
    return ordered[min(round(share * len(ordered)), len(ordered) - 1)]


class Usage:
    """CPU of some processes as a share of one core, from its making to `percent`. One that has ended counts as 0."""

    def __init__(self, pids: Iterable[int]) -> None:
        self._before = {pid: cpu_seconds(pid) for pid in pids}
        self._since = time.monotonic()

    def percent(self) -> float:
        """Per cent of a core."""
        used = sum(cpu_seconds(pid) - before for pid, before in self._before.items() if _lives(pid))
        return used / (time.monotonic() - self._since) * 100


def _lives(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def find_free_port() -> int:
    """A port of the loopback address on which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def backends(dsn: str, application: str) -> list[int]:
    """PIDs of the sessions of an application."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        found = connection.execute("select pid from pg_stat_activity where application_name = %s", [application])
        return [pid for (pid,) in found]


class MeasuredAgent:
    """`pgdoctor agent` with its defaults and these options, on a free port."""

    def __init__(
        self,
        dsn: str,
        *options: str,
        port: int | None = None,
        environment: Mapping[str, str] | None = None,
        ready: Callable[[Mapping[str, float]], bool] = lambda metrics: metrics["pgdoctor_up"] == 1,
    ) -> None:
        self._dsn = dsn
        self._ready = ready
        port = port or find_free_port()
        self.url = f"http://127.0.0.1:{port}"
        self._process = subprocess.Popen(
            [sys.executable, "-m", "pgdoctor", "agent", "--listen", f"127.0.0.1:{port}", *options],
            env={**os.environ, **({"PGDOCTOR_DSN": dsn} if environment is None else environment)},
            stderr=subprocess.DEVNULL,
        )
        self.pid = self._process.pid

    def __enter__(self) -> Self:
        while True:
            try:
                if self._ready(self.metrics()):
                    return self
            except httpx.HTTPError:
                assert self._process.poll() is None
            time.sleep(0.1)

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(30)

    @property
    def backends(self) -> list[int]:
        """PIDs of its sessions."""
        return backends(self._dsn, "pgdoctor")

    def metrics(self) -> dict[str, float]:
        """Every series."""
        return series(httpx.get(f"{self.url}/metrics", timeout=10).text)

    def send(self, number: int) -> None:
        """A signal."""
        self._process.send_signal(number)


class Scraping:
    """Some scrapers, each asking for a page once in a while; `seconds` is what each answer took."""

    def __init__(self, url: str, scrapers: int, pause: float) -> None:
        self._url = url
        self._pause = pause
        self._end = threading.Event()
        self.seconds: list[float] = []
        self._threads = [threading.Thread(target=self._scrape, daemon=True) for _ in range(scrapers)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()

    def _scrape(self) -> None:
        with httpx.Client(timeout=10) as client:
            while not self._end.wait(self._pause):
                began = time.perf_counter()
                client.get(self._url).raise_for_status()
                self.seconds.append(time.perf_counter() - began)


@contextmanager
def ending(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """Terminates it at the end."""
    try:
        yield process
    finally:
        process.terminate()
        process.wait(10)
