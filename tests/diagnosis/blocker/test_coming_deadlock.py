"""Two builds of an index on one table: the first one waits for the snapshot of the second, which waits for its lock."""

import pytest
from psycopg.errors import DeadlockDetected

from tests.looking import blocker, said
from tests.scenes import Client, Scene

BUILD = "create index concurrently {} on orders (v)"


def stage_build(shop: Scene, behind: str) -> tuple[Client, Client, Client]:
    """A writer, a build that waits for its end, and a session that waits for the lock of the build."""
    writer = shop.client("update orders set v = 1 where id = 1")
    build = shop.client(autocommit=True).block(BUILD.format("first"))
    return writer, build, shop.client(autocommit=True).block(behind)


@pytest.mark.parametrize("behind", [BUILD.format("second"), "alter table orders add column c int"])
def test_deadlock_that_is_foretold_comes(shop: Scene, behind: str) -> None:
    writer, build, second = stage_build(shop, behind)
    told = said(blocker(shop.dsn, writer.pid))
    assert f"CREATE INDEX CONCURRENTLY ({build.pid}) will wait" in told
    assert f"each session that waits for its lock ({second.pid})" in told
    assert "a deadlock is ahead" in said(blocker(shop.dsn, build.pid))
    writer.run("rollback")
    shop.wait_until(lambda: not (build.busy and second.busy))
    outcomes = []
    for client in (build, second):
        try:
            client.finish()
        except DeadlockDetected:
            outcomes.append(client)
    assert len(outcomes) == 1


def test_build_and_waiter_without_a_snapshot_end_well(shop: Scene) -> None:
    writer, build, second = stage_build(shop, "vacuum orders")
    assert "a deadlock is ahead" not in said(blocker(shop.dsn, writer.pid))
    writer.run("rollback")
    build.finish()
    second.finish()
