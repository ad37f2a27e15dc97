"""1,000 waiters, with 40,000 other locks: what a poll costs, and the agent in the middle of it."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from statistics import median
from typing import Any

import psycopg

from pgdoctor.demo.throwaway_server import ThrowawayServer
from pgdoctor.diagnosis.diagnose import diagnose
from pgdoctor.postgres.collect import STATEMENT_BYTES, Collector
from pgdoctor.postgres.connection import Connection
from pgdoctor.postgres.queries import load_sql
from pgdoctor.render.report import make_report, to_json
from tests.bench.measuring import MeasuredAgent, Scraping, Usage, backend_ms, memory_mb, percentile, show

WAITERS = 1_000
READERS, PARTITIONS = 40, 1_000
OTHER_LOCKS = READERS * PARTITIONS
REPEATS = 7
SCRAPERS = 10

#: No full diagnosis can do without these three.
FLOOR = (
    "select pid, pg_blocking_pids(pid) from pg_stat_get_activity(null) s where wait_event_type = 'Lock'",
    "select * from pg_lock_status() l where not granted",
    "select * from pg_stat_get_activity(null) s where wait_event_type = 'Lock'",
)

#: Who holds, who queues, and what every session waits for.
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
    settings = {"max_locks_per_transaction": 256}
    with ThrowawayServer(max_connections=WAITERS + READERS + 20, settings=settings) as server:
        asyncio.run(_partitioned(server.dsn))
        for name, storm in STORMS.items():
            with MeasuredAgent(server.dsn) as agent:
                asyncio.run(_measure(server.dsn, f"{name}, {OTHER_LOCKS:,} other locks", storm, agent))
                _afterwards(agent)


async def _measure(dsn: str, name: str, storm: tuple[str, str | None, str], agent: MeasuredAgent) -> None:
    async with _staged(dsn, *storm), await Connection.open(dsn, 60.0) as door:
        # The agent's CPU and the scrapers' answers first: the statements measured below would burden both.
        await asyncio.sleep(5)
        await asyncio.to_thread(_agent, name, agent)
        await _server(name, door, documented=storm[1] is not None)
        await _client(name, door)


def _agent(name: str, agent: MeasuredAgent) -> None:
    own, theirs = Usage([agent.pid]), Usage(agent.backends)
    with Scraping(f"{agent.url}/metrics", SCRAPERS, pause=1.0) as scraping:
        time.sleep(40)
    polls = agent.metrics()
    rows = [
        ["agent, % of a core, with ten scrapers once a second", own.percent(), "< 10"],
        ["its backend, % of a core", theirs.percent(), ""],
        ["RSS, MB", memory_mb(agent.pid), "< 120"],
        ["peak RSS, MB", memory_mb(agent.pid, "VmHWM"), ""],
        ["scrape p50, ms", percentile(scraping.seconds, 0.5) * 1000, ""],
        ["scrape p99, ms", percentile(scraping.seconds, 0.99) * 1000, "< 50"],
        ["slowest scrape, ms", max(scraping.seconds) * 1000, ""],
        ["blocked sessions it says", polls["pgdoctor_blocked_sessions"], ""],
    ]
    show(f"The agent: {name}", rows, ("", "value", "bound"))


def _afterwards(agent: MeasuredAgent) -> None:
    time.sleep(15)
    show("The agent 15 s after it", [["RSS, MB", memory_mb(agent.pid), "< 90"]], ("", "value", "bound"))


async def _server(name: str, door: Connection, *, documented: bool) -> None:
    floor = sum([await _backend_ms(door, statement) for statement in FLOOR])
    gate, waits = [await _backend_ms(door, _statement(name)) for name in ("gate", "lock_waits")]
    rows: list[list[Any]] = [
        ["floor (three statements)", floor, 1.0, ""],
        ["gate", gate, gate / floor, ""],
        ["gate and waits: a poll", gate + waits, (gate + waits) / floor, "< 2"],
    ]
    if documented:
        known = await _backend_ms(door, _statement("documented_blocking_locks"), repeats=1)
        rows.append(["documented query", known, known / floor, ""])
        rows.append(["  … times the poll", None, known / (gate + waits), "> 80"])
    show(f"On the server: {name}", rows, ("CPU of the backend", "ms", "ratio", "bound"))


async def _backend_ms(door: Connection, statement: str, repeats: int = REPEATS) -> float:
    """Median of what a statement costs the backend, its result written out included, as the kernel counts it."""
    pgconn, times = door.connection.pgconn, []
    pgconn.prepare(b"measured", statement.encode())
    for _ in range(repeats + 1):
        before = backend_ms(pgconn.backend_pid)
        await asyncio.to_thread(pgconn.exec_prepared, b"measured", [], result_format=1)
        times.append(backend_ms(pgconn.backend_pid) - before)
    pgconn.exec_(b"deallocate measured")
    return median(times[1:]) if repeats > 1 else times[-1]


async def _client(name: str, door: Connection) -> None:
    collector = Collector(door)
    snapshot = await collector.fetch_snapshot()
    backend = door.connection.info.backend_pid
    wall, own, theirs = [], [], []
    for _ in range(REPEATS):
        began, used, there = time.perf_counter(), time.process_time(), backend_ms(backend)
        await collector.fetch_snapshot()
        wall.append((time.perf_counter() - began) * 1000)
        own.append((time.process_time() - used) * 1000)
        theirs.append(backend_ms(backend) - there)
    facts = diagnose(snapshot)
    rows = [
        # On a busy machine most of it is waiting for a core: then what was worked says more.
        ["collect, server included", median(wall), "< 150"],
        ["  CPU of the client", median(own), ""],
        ["  CPU of the backend", median(theirs), ""],
        ["diagnose, CPU", _cpu_ms(lambda: diagnose(snapshot)), ""],
        ["report as JSON, CPU", _cpu_ms(lambda: to_json(make_report(facts))), ""],
    ]
    show(f"In the client: {name} ({facts.graph.wait_count:,} waits)", rows, ("", "ms", "bound"))


def _cpu_ms(work: Callable[[], Any]) -> float:
    times = []
    for _ in range(REPEATS):
        began = time.process_time()
        work()
        times.append((time.process_time() - began) * 1000)
    return median(times)


def _statement(name: str) -> str:
    statement = load_sql(name, 180_000).rstrip().rstrip(";").replace("%(statement_bytes)s", str(STATEMENT_BYTES))
    return statement.replace("%(wait_threshold)s", "interval '0'").replace("%(watched)s", "'{}'")


@asynccontextmanager
async def _staged(dsn: str, hold: str, queue: str | None, wait: str) -> AsyncIterator[None]:
    clients = [await _connect(dsn) for _ in range(3)]
    holder, locker, ddl = clients
    readers = [await _reader(dsn) for _ in range(READERS)]
    await locker.execute("drop table if exists bench; create table bench (id int primary key, v int)")
    await locker.execute("insert into bench values (1, 0)")
    await holder.execute("begin")
    await holder.execute(hold)
    # Sent, and not waited for: a thousand that wait in this loop would cost more than what is measured.
    if queue:
        ddl.pgconn.send_query(queue.encode())
        await asyncio.sleep(0.3)
    crowd = [await _connect(dsn) for _ in range(WAITERS)]
    for client in crowd:
        client.pgconn.send_query(wait.encode())
    await _until_waiting(locker, WAITERS + bool(queue))
    yield
    for client in (*crowd, *clients, *readers):
        client.pgconn.finish()


async def _partitioned(dsn: str) -> None:
    async with await _connect(dsn) as client:
        await client.execute("create table parted (id int) partition by range (id)")
        for place in range(PARTITIONS):
            await client.execute(
                f"create table parted_{place} partition of parted for values from ({place}) to ({place + 1})"
            )


async def _reader(dsn: str) -> psycopg.AsyncConnection[Any]:
    """A session whose transaction has read every partition: harmless, and a thousand locks."""
    client = await _connect(dsn)
    await client.execute("begin; lock table parted in access share mode")
    return client


async def _until_waiting(client: psycopg.AsyncConnection[Any], wanted: int) -> None:
    for _ in range(600):
        counted = await client.execute("select count(*) from pg_stat_activity where wait_event_type = 'Lock'")
        if await counted.fetchone() == (wanted,):
            return
        await asyncio.sleep(0.2)
    raise TimeoutError(f"there are no {wanted} waiters")


async def _connect(dsn: str) -> psycopg.AsyncConnection[Any]:
    return await psycopg.AsyncConnection.connect(dsn, autocommit=True, application_name="bench")
