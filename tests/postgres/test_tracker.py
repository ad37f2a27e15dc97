"""What a blocker holds for its tool is read once for each of its statements: reading it takes all locks again."""

import asyncio
from collections.abc import Awaitable, Callable

from pgdoctor.model.snapshot import Snapshot, ToolTraces
from pgdoctor.postgres.collect import Collector
from pgdoctor.postgres.connection import Connection
from tests.scenes import Scene


def test_it_is_asked_again_only_after_another_statement(scene: Scene) -> None:
    scene.admin.execute("create table alembic_version (); create table t ()")
    blocker = scene.client("lock table t", "select from alembic_version")
    scene.client().block("select from t")

    async def look() -> None:
        async with await Connection.open(scene.dsn) as door:
            collector = Collector(door)
            first, _ = await counted(door, collector.fetch_snapshot)
            second, statements = await counted(door, collector.fetch_snapshot)
            assert traces(first) == traces(second) == ToolTraces(tables=(("public", "alembic_version"),))
            await asyncio.to_thread(blocker.run, "select pg_advisory_xact_lock(7)")
            third, more = await counted(door, collector.fetch_snapshot)
            assert traces(third) == ToolTraces(keys=((0, 7, 1),), tables=(("public", "alembic_version"),))
            assert more == statements + 1
            await asyncio.to_thread(blocker.run, "commit")
            assert (await collector.fetch_snapshot()).traces == {}

    def traces(snapshot: Snapshot) -> ToolTraces:
        return snapshot.traces[blocker.pid]

    asyncio.run(look())


async def counted(door: Connection, look: Callable[[], Awaitable[Snapshot]]) -> tuple[Snapshot, int]:
    """A snapshot, and how many statements it took."""
    before = door.cost.statements
    snapshot = await look()
    return snapshot, door.cost.statements - before
