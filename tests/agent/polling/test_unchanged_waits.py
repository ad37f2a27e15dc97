"""Full polls that are left out while nothing changes: what is shown then is what a full poll would find."""

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest
from msgspec.structs import replace

from pgdoctor.agent.polling.pacing import Pacing
from pgdoctor.agent.polling.poll import PollRunner
from pgdoctor.agent.polling.unchanged_waits import UnchangedWaits
from pgdoctor.config.config import AgentSettings
from pgdoctor.enforcement.mitigator import Mitigator
from pgdoctor.mitigation.rules import Duration, Mitigation
from pgdoctor.model.snapshot import Connections, ServerInfo
from pgdoctor.postgres.collect import Gate
from pgdoctor.postgres.connection import Connection

SETTINGS = AgentSettings(interval=Duration(1), wait_threshold=Duration(0), max_server_share=1.0)

#: Polls in a row that are enough for some to be left out.
MANY = 12

WAITING = "from pg_stat_activity where wait_event_type = 'Lock'"

UPDATE = "update orders set v = v + 1 where id = 1"


class Polls:
    """One poll after the other, without a pause."""

    def __init__(self, connection):
        self._connection = connection
        self._runner = PollRunner(SETTINGS, Pacing())

    async def poll(self, *, may_stand=True):
        return await self._runner.examine(self._connection, may_stand=may_stand)

    async def until_unchanged(self):
        async with asyncio.timeout(60):
            while not (result := await self.poll()).is_unchanged:
                assert result.is_new
            return result


@asynccontextmanager
async def polling(dsn):
    async with await Connection.open(dsn, 30.0) as connection:
        yield Polls(connection)


@pytest.fixture
def holder(scene):
    """A session that is idle in a transaction, and has changed the row."""
    scene.admin.execute("create table orders (id int primary key, v int); insert into orders values (1, 0), (2, 0)")
    holder = scene.client("update orders set v = 1")
    for _ in range(3):
        scene.client().block(UPDATE)
    return holder


def test_unchanged_waits_are_shown_as_a_full_poll_finds_them(scene, holder):
    async def poll():
        async with polling(scene.dsn) as polls:
            left_out = await polls.until_unchanged()
            return left_out, await polls.poll(may_stand=False)

    left_out, full = asyncio.run(poll())
    assert full.is_new
    shown, found = left_out.figures, full.figures
    assert (shown.blocked_sessions, shown.blocked_by_class, shown.depth, shown.leading) == (
        found.blocked_sessions,
        found.blocked_by_class,
        found.depth,
        found.leading,
    )
    assert shown.blocked_sessions == 3
    # Both ages are those of the moment: what lies between the two is the time between the two.
    between = (full.at - left_out.at).total_seconds()
    assert found.oldest_wait - shown.oldest_wait == pytest.approx(between, abs=0.001)
    ages = found.oldest_transaction["idle_in_transaction"] - shown.oldest_transaction["idle_in_transaction"]
    assert ages == pytest.approx(between, abs=0.001)


@pytest.mark.parametrize("change", ["holder", "another waiter", "one waiter less", "released"])
def test_change_shows_at_the_next_poll(scene, holder, change):
    def make():
        if change == "holder":
            holder.run("select 1")
        elif change == "another waiter":
            scene.client().block("delete from orders where id = 2")
        elif change == "one waiter less":
            scene.admin.execute(
                "select pg_cancel_backend(max(pid)) from pg_stat_activity where wait_event_type = 'Lock'"
            )
            scene.wait_until(lambda: count_waiters(scene) == 2)
        else:
            holder.run("commit")

    async def poll():
        async with polling(scene.dsn) as polls:
            await polls.until_unchanged()
            await asyncio.to_thread(make)
            return await polls.poll()

    result = asyncio.run(poll())
    assert result.is_new
    expected = {"holder": 3, "another waiter": 4, "one waiter less": 2}
    if change in expected:
        assert len(result.diagnosis.find_blocked(0.0)) == expected[change]


def count_waiters(scene):
    return scene.admin.execute(f"select count(*) {WAITING}").fetchone()[0]


def test_running_holder_has_each_poll_read_the_waits(scene):
    scene.admin.execute("create table orders (id int primary key, v int); insert into orders values (1, 0)")
    holder = scene.client("update orders set v = 1")
    holder.start("select pg_sleep(300)")
    scene.client().block(UPDATE)

    async def poll():
        async with polling(scene.dsn) as polls:
            return [await polls.poll() for _ in range(MANY)]

    assert all(result.is_new for result in asyncio.run(poll()))


def test_prepared_transaction_has_each_poll_read_the_waits(scene):
    scene.admin.execute("create table orders (id int primary key, v int); insert into orders values (1, 0)")
    scene.client("update orders set v = 1").run("prepare transaction 'left'")
    scene.client().block(UPDATE)

    async def poll():
        async with polling(scene.dsn) as polls:
            return [await polls.poll() for _ in range(MANY)]

    results = asyncio.run(poll())
    scene.admin.execute("rollback prepared 'left'")
    assert all(result.is_new for result in results)


def test_diagnosis_stands_for_some_intervals_only():
    server = ServerInfo(180_000, False, 100, 5, Connections())
    gate = Gate(datetime.now(UTC), server, lock_waiters=3, statement_bytes=1024, activity_hash=7)
    known = UnchangedWaits(100.0, 5, frozenset(), 7, 3)
    assert known.holds(gate, 101.0, 1.0)
    assert known.holds(gate, 104.4, 1.0)
    assert not known.holds(gate, 104.9, 1.0)
    assert not known.holds(gate, 100.5, 0.1)
    assert not known.holds(gate, 110.0, 60.0)
    assert not known.holds(replace(gate, activity_hash=8), 101.0, 1.0)
    assert not replace(known, polls=4).holds(gate, 101.0, 1.0)
    assert not replace(known, lock_waiters=2).holds(gate, 101.0, 1.0)
    hidden = replace(gate, server=replace(server, hidden_sessions=1))
    assert not known.holds(hidden, 101.0, 1.0)


@pytest.mark.parametrize("mode", ["observe", "dry_run", "enforce"])
def test_decisions_rest_on_a_full_poll_each(mode):
    assert Mitigator(Mitigation(mode=mode)).judges_each_poll


def test_without_mitigation_a_poll_may_be_left_out():
    assert not Mitigator(Mitigation()).judges_each_poll
