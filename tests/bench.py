"""What a poll costs: `make bench`. Ratios and shares of one run; absolute times depend on the machine.

1. The statements of a poll against the floor (three statements that no full diagnosis can do without) and against
   the documented query, with 1,000 waiters behind one ALTER and 40,000 other locks, and in a convoy on one row.
2. What collecting, diagnosing and writing it out costs the client.
3. The agent at rest: its share of a core, its backend's, and its memory.
"""

import asyncio
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
from tabulate import tabulate

from pgdoctor.demo.server import ThrowawayServer
from pgdoctor.diagnosis.diagnose import diagnose
from pgdoctor.postgres.collect import STATEMENT_BYTES, Collector
from pgdoctor.postgres.door import Door
from pgdoctor.postgres.queries import load
from pgdoctor.render.report import report, to_json

WAITERS = 1_000
OTHER_LOCKS = 40_000
REPEATS = 7
IDLE_SECONDS = 20.0

FLOOR = (
    "select pid, pg_blocking_pids(pid) from pg_stat_get_activity(null) s where wait_event_type = 'Lock'",
    "select * from pg_lock_status() l where not granted",
    "select * from pg_stat_get_activity(null) s where wait_event_type = 'Lock'",
)

STORMS = {
    f"{WAITERS:,} readers behind one ALTER": (
        "select from bench",
        "alter table bench add c int",
        "select from bench",
    ),
    f"a convoy of {WAITERS:,} on one row": (
        "update bench set v = 1 where id = 1",
        None,
        "update bench set v = 2 where id = 1",
    ),
}


def main() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, 4 * WAITERS), hard), hard))
    with ThrowawayServer(max_connections=WAITERS + 50, settings={"max_locks_per_transaction": 256}) as server:
        print(f"PostgreSQL {server.version_num // 10_000}, {os.cpu_count()} cores, medians of {REPEATS}\n")
        asyncio.run(_idle_agent(server.dsn))
        for name, storm in STORMS.items():
            asyncio.run(_storm(server.dsn, name, *storm))


async def _storm(dsn: str, name: str, hold: str, queue: str | None, wait: str) -> None:
    print(f"## {name}, {OTHER_LOCKS:,} other locks\n")
    clients = [await _connect(dsn) for _ in range(3)]
    holder, locker, ddl = clients
    await locker.execute(f"select count(pg_advisory_lock(g)) from generate_series(1, {OTHER_LOCKS}) g")
    await locker.execute("drop table if exists bench; create table bench (id int primary key, v int)")
    await locker.execute("insert into bench values (1, 0)")
    await holder.execute("begin")
    await holder.execute(hold)
    hanging = []
    if queue:
        hanging.append(asyncio.create_task(ddl.execute(queue)))
        await asyncio.sleep(0.3)
    crowd = [await _connect(dsn) for _ in range(WAITERS)]
    hanging += [asyncio.create_task(client.execute(wait)) for client in crowd]
    async with await Door.open(dsn, 60.0) as door:
        while (await door.fetch("pulse", wait_threshold=timedelta()))[0].lock_waiters < len(hanging):  # noqa: ASYNC110
            await asyncio.sleep(0.2)
        await _measure_server(door, documented="convoy" not in name)
        await _measure_client(door)
    await holder.execute("rollback")
    await asyncio.gather(*hanging)
    for client in (*clients, *crowd):
        await client.close()


async def _measure_server(door: Door, *, documented: bool) -> None:
    floor = sum([await _server_ms(door, statement) for statement in FLOOR])
    poll = [await _server_ms(door, _statement(name)) for name in ("pulse", "waits")]
    rows: list[list[Any]] = [["floor (three statements)", floor, 1.0], ["gate", poll[0], poll[0] / floor]]
    rows.append(["gate and waits: a poll", sum(poll), sum(poll) / floor])
    if documented:
        known = await _server_ms(door, _statement("documented_blocking_locks"), repeats=1)
        rows.append(["documented query", known, known / floor])
        rows.append(["  … times the poll", None, known / sum(poll)])
    print(tabulate(rows, ("on the server", "ms", "ratio"), floatfmt=".2f"), "\n")


async def _measure_client(door: Door) -> None:
    collector = Collector(door)
    snapshot = await collector.snapshot()
    rows = [["collect (server included)", await _ms(lambda: collector.snapshot())]]
    rows.append(["diagnose", _cpu_ms(lambda: diagnose(snapshot))])
    facts = diagnose(snapshot)
    rows.append(["report as JSON", _cpu_ms(lambda: to_json(report(facts)))])
    waits = f"{facts.graph.wait_count:,} waits, {len(to_json(report(facts))) / 1e6:.1f} MB of JSON"
    print(tabulate(rows, ("on the client", "ms"), floatfmt=".1f"), f"\n{waits}\n")


async def _idle_agent(dsn: str) -> None:
    print("## The agent at rest, one poll a second\n")
    with _agent(dsn) as process:
        await asyncio.sleep(3)
        async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
            cursor = await connection.execute("select pid from pg_stat_activity where application_name = 'pgdoctor'")
            backends = [pid for (pid,) in await cursor.fetchall()]
            before = [_cpu_seconds(pid) for pid in (process.pid, *backends)]
            await asyncio.sleep(IDLE_SECONDS)
            after = [_cpu_seconds(pid) for pid in (process.pid, *backends)]
        used = [(then - now) / IDLE_SECONDS * 100 for now, then in zip(before, after, strict=True)]
        rows = [
            ["agent, % of a core", used[0]],
            ["its backends, % of a core", sum(used[1:])],
            ["connections", len(backends)],
            ["RSS, MB", _rss_mb(process.pid)],
        ]
        print(tabulate(rows, ("", "value"), floatfmt=".2f"), "\n")


@contextmanager
def _agent(dsn: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "pgdoctor", "agent", "--listen", "127.0.0.1:0"],
        env={**os.environ, "PGDOCTOR_DSN": dsn},
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(5)


def _statement(name: str) -> str:
    statement = load(name, 180_000).rstrip().rstrip(";").replace("%(statement_bytes)s", str(STATEMENT_BYTES))
    return statement.replace("%(wait_threshold)s", "interval '0'")


async def _server_ms(door: Door, statement: str, repeats: int = REPEATS) -> float:
    """Median execution time on the server, as the server measures it."""
    times = []
    for _ in range(repeats):
        cursor = await door.connection.execute(f"explain (analyze, timing off, format json) {statement}")
        [(plan,)] = await cursor.fetchall()
        times.append(plan[0]["Execution Time"])
    return statistics.median(times)


async def _ms(work: Callable[[], Any]) -> float:
    times = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        await work()
        times.append((time.perf_counter() - began) * 1000)
    return statistics.median(times)


def _cpu_ms(work: Callable[[], Any]) -> float:
    times = []
    for _ in range(REPEATS):
        began = time.process_time()
        work()
        times.append((time.process_time() - began) * 1000)
    return statistics.median(times)


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _rss_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmRSS"))


async def _connect(dsn: str) -> psycopg.AsyncConnection[Any]:
    return await psycopg.AsyncConnection.connect(dsn, autocommit=True, application_name="bench")


if __name__ == "__main__":
    main()
