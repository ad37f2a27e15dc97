"""What one diagnosis of 1,000 waiters costs: the server its statements, Python the diagnosis, its report, the archive.

Ratios are of one round, in which everything is measured in turn.
"""

import asyncio
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import AsyncExitStack, ExitStack, contextmanager
from functools import partial
from typing import Any, TypeVar

from msgspec.structs import replace

from pgdoctor.demo.throwaway_server import ThrowawayServer
from pgdoctor.diagnosis.diagnose import diagnose
from pgdoctor.incidents.snapshot_archive import diagnose_again, pack_diagnosis, unpack_snapshot
from pgdoctor.model.snapshot import Snapshot
from pgdoctor.postgres.collect import Collector
from pgdoctor.postgres.connection import Connection
from pgdoctor.render.report import make_report, to_json
from tests.bench import crowds
from tests.bench.storm import FLOOR, READERS, _backend_ms, _partitioned, _reader, _statement
from tests.bench.table import Round, Row, Stage

T = TypeVar("T")

#: Repetitions of what is cheap, of which the median counts.
_REPEATS = 5

#: Goals: the poll against its floor, and milliseconds of diagnosis and report.
_POLLS = {"queue": 1.3, "convoy": 1.4, "chain": 2.0, "pairs": 2.0}
_PYTHON = {"queue": 20.0, "convoy": 150.0, "pairs": 60.0}

_ARCHIVE_MS, _REPLAYED = 50.0, 100.0
_TIMES_FASTER, _COMMAND_FASTER, _COLD = 100.0, 10.0, 1.2


def _rows_of(shape: str) -> tuple[Row, ...]:
    rows = [Row(f"poll_{shape}", f"poll : floor, {shape}", "x", _POLLS[shape])]
    if shape in _PYTHON:
        rows.append(Row(f"python_{shape}", f"Python: diagnosis + report, {shape}", "ms", _PYTHON[shape]))
    if shape == "queue":
        rows.append(Row("documented", "documented query : poll, queue", "x", _TIMES_FASTER, at_least=True))
        rows.append(Row("command", "psql, documented query : diagnose", "x", _COMMAND_FASTER, at_least=True))
    if shape == "convoy":
        rows.append(Row("replay", "replay, convoy", "snapshots/s", _REPLAYED, at_least=True))
        rows.append(Row("archive", "archive, convoy", "ms", _ARCHIVE_MS))
    return tuple(rows)


@contextmanager
def _open_shape(shape: str, *, is_locked: bool = False) -> Iterator[Round]:
    settings = {"max_locks_per_transaction": 256}
    with (
        ThrowawayServer(max_connections=crowds.MOST_CONNECTIONS + READERS, settings=settings) as server,
        Loop() as loop,
    ):
        if is_locked:
            loop.run(_partitioned(server.dsn))
            for _ in range(READERS):
                loop.keep(_reader(server.dsn))
        loop.enter(crowds.staged(server.dsn, shape))
        connection = loop.enter(loop.run(Connection.open(server.dsn, 60.0)))
        if is_locked:
            yield lambda: loop.run(_measure_documented(connection, "documented_locks"))
        else:
            yield lambda: loop.run(_measure_shape(connection, shape)) | _measure_command(server.dsn, shape)


async def _measure_shape(connection: Connection, shape: str) -> dict[str, float]:
    floor = sum([await _backend_ms(connection, statement, _REPEATS) for statement in FLOOR])
    poll = await _poll_ms(connection)
    found = {f"poll_{shape}": poll / floor}
    snapshot = await Collector(connection).fetch_snapshot()
    if shape in _PYTHON:
        found[f"python_{shape}"] = _least_ms(lambda: to_json(make_report(diagnose(_anew(snapshot)))))
    if shape == "queue":
        found |= await _measure_documented(connection, "documented")
    if shape == "convoy":
        diagnosis = diagnose(snapshot)
        body = pack_diagnosis(diagnosis)
        found["archive"] = _least_ms(lambda: pack_diagnosis(diagnosis))
        found["replay"] = 1000 / _least_ms(lambda: diagnose_again(unpack_snapshot(body)))
    return found


async def _measure_documented(connection: Connection, key: str) -> dict[str, float]:
    known = await _backend_ms(connection, _statement("documented_blocking_locks"), repeats=1)
    return {key: known / await _poll_ms(connection)}


async def _poll_ms(connection: Connection) -> float:
    return sum([await _backend_ms(connection, _statement(name), _REPEATS) for name in ("gate", "lock_waits")])


def _measure_command(dsn: str, shape: str) -> dict[str, float]:
    """How much faster `diagnose` is than psql's driver with the documented query, from start to end."""
    if shape != "queue":
        return {}
    query = f"import psycopg, sys; psycopg.connect(sys.argv[1]).execute({_statement('documented_blocking_locks')!r})"
    known = _seconds([sys.executable, "-c", f"{query}.fetchall()", dsn])
    return {"command": known / _seconds([sys.executable, "-m", "pgdoctor", "diagnose", "--dsn", dsn])}


def _seconds(command: list[str], environment: Mapping[str, str] | None = None) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
    return time.perf_counter() - began


def _anew(snapshot: Snapshot) -> Snapshot:
    """The snapshot with nothing worked out of it yet."""
    return replace(snapshot, sessions={pid: replace(each) for pid, each in snapshot.sessions.items()})


def _least_ms(work: Callable[[], object]) -> float:
    """The least CPU of some runs: the others were disturbed."""
    times = []
    for _ in range(_REPEATS):
        began = time.process_time()
        work()
        times.append((time.process_time() - began) * 1000)
    return min(times)


@contextmanager
def _open_cold() -> Iterator[Round]:
    """A server without a wait, and compiled modules, as an installed package has them."""
    with ThrowawayServer() as server, tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": folder}
        driver = [sys.executable, "-c", "import psycopg"]
        command = [sys.executable, "-m", "pgdoctor", "diagnose", "--dsn", server.dsn]
        for each in (driver, command):
            _cpu_of(each, environment)
        yield lambda: {"cold": _cpu_of(command, environment) / _cpu_of(driver, environment)}


def _cpu_of(command: list[str], environment: Mapping[str, str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    _seconds(command, environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


class Loop:
    """An event loop of its own, in which things stay open from one round to the next."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner()
        self._opened = AsyncExitStack()
        self._kept: list[object] = []

    def __enter__(self) -> "Loop":
        return self

    def __exit__(self, *_: object) -> None:
        with ExitStack() as closing:
            closing.callback(self._runner.close)
            self._kept.clear()
            self.run(self._opened.aclose())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end."""
        return self._runner.run(work)

    def enter(self, context: Any) -> Any:
        """Open a context until the loop ends."""
        return self.run(self._opened.enter_async_context(context))

    def keep(self, work: Coroutine[Any, Any, object]) -> None:
        """Run a coroutine, and keep what it opens."""
        self._kept.append(self.run(work))


STAGES = (
    *(Stage(_rows_of(shape), partial(_open_shape, shape), most_rounds=5) for shape in crowds.SHAPES),
    Stage(
        (Row("documented_locks", "documented query : poll, queue, 40,000 locks", "x", _TIMES_FASTER, at_least=True),),
        partial(_open_shape, "queue", is_locked=True),
        most_rounds=3,
    ),
    Stage((Row("cold", "diagnose without waits, cold : importing the driver", "x", _COLD),), _open_cold),
)
