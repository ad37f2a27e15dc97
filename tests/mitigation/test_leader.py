"""Of several who could act at one server one does: the one whose connection holds the leader lock."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
from msgspec.structs import replace
from psycopg.conninfo import make_conninfo

from pgdoctor.diagnosis.diagnose import diagnose
from pgdoctor.errors import ServerError
from pgdoctor.mitigation.execute import Mitigator
from pgdoctor.mitigation.leader import REHEARSAL_KEY, Leader
from pgdoctor.mitigation.rules import Mitigation, Mode
from pgdoctor.mitigation.written import Duration
from pgdoctor.postgres.collect import Collector
from pgdoctor.postgres.door import Door
from pgdoctor.postgres.signal import LEADER_KEY
from tests.leading import take_the_lead
from tests.mitigation.competing import compete
from tests.mitigation.conftest import IDLE, Incident
from tests.scenes import Scene
from tests.scenes.client import wait_until

NOW = datetime(2026, 5, 22, tzinfo=UTC)


@asynccontextmanager
async def doors(*dsns: str) -> AsyncIterator[list[Door]]:
    opened = [await Door.open(dsn) for dsn in dsns]
    try:
        yield opened
    finally:
        for door in opened:
            door.abandon()


async def tries(door: Door, mode: Mode = "enforce") -> bool:
    """Whether somebody who has not tried before gets to lead."""
    return await Leader().lead(door, mode, NOW)


def test_the_second_at_a_server_follows_whatever_database_it_is_in(scene: Scene) -> None:
    other = make_conninfo(scene.dsn, dbname=scene.database())

    async def work() -> None:
        async with doors(scene.dsn, scene.dsn, other) as (first, second, elsewhere):
            leader = await take_the_lead(first)
            assert leader.leads
            assert leader.since is not None
            assert not await tries(second)
            assert not await tries(elsewhere)
            # Nothing is left of the attempt: it does not keep the next one from leading.
            await leader.resign()
            assert not leader.leads
            assert await tries(elsewhere)

    asyncio.run(work())


def test_a_lost_connection_is_a_lost_lead(scene: Scene) -> None:
    async def work() -> None:
        async with doors(scene.dsn, scene.dsn) as (first, second):
            leader = await take_the_lead(first)
            pid = first.connection.info.backend_pid
            scene.admin.execute("select pg_terminate_backend(%s, 5000)", [pid])
            assert await tries(second)
            with pytest.raises(ServerError):
                await first.fetch("may_signal")
            assert not leader.leads
            assert not await leader.lead(first, "enforce", NOW)

    asyncio.run(work())


def test_who_leads_over_a_new_connection_leads_since_then(scene: Scene) -> None:
    async def work() -> None:
        async with doors(scene.dsn, scene.dsn) as (first, second):
            leader = await take_the_lead(first)
            before = leader.since
            assert before is not None
            assert not await leader.lead(second, "enforce", NOW)
            first.abandon()
            wait_until(lambda: not holders(scene))
            leader = Leader()
            assert await leader.lead(second, "enforce", NOW)
            assert leader.since == NOW

    asyncio.run(work())


def test_who_rehearses_keeps_nobody_from_acting(scene: Scene) -> None:
    async def work() -> None:
        async with doors(scene.dsn, scene.dsn, scene.dsn) as (rehearsing, other, acting):
            assert await tries(rehearsing, "dry_run")
            assert not await tries(other, "dry_run")
            assert await tries(acting)
            assert holders(scene, REHEARSAL_KEY) == 1

    asyncio.run(work())


def test_another_mode_is_another_lead(scene: Scene) -> None:
    async def work() -> None:
        async with doors(scene.dsn) as (door,):
            leader = await take_the_lead(door)
            for _ in range(100):
                if await leader.lead(door, "dry_run", NOW):
                    break
                await asyncio.sleep(0.05)
            assert (holders(scene), holders(scene, REHEARSAL_KEY)) == (0, 1)

    asyncio.run(work())


def holders(scene: Scene, key: int = LEADER_KEY) -> int:
    [(found,)] = scene.admin.execute(
        "select count(*) from pg_locks where locktype = 'advisory' and granted and objid = %s", [key & 0xFFFFFFFF]
    ).fetchall()
    return int(found)


def test_of_many_who_try_at_the_same_moment_never_two_lead(scene: Scene) -> None:
    dsns = [scene.dsn, *(make_conninfo(scene.dsn, dbname=scene.database()) for _ in range(3))]

    async def work() -> int:
        led = 0
        async with doors(*dsns) as opened:
            for _ in range(100):
                leaders = [Leader() for _ in opened]
                found = await asyncio.gather(
                    *(each.lead(door, "enforce", NOW) for each, door in zip(leaders, opened, strict=True))
                )
                assert sum(found) <= 1
                assert holders(scene) == sum(found)
                led += sum(found)
                for each in leaders:
                    await each.resign()
        return led

    assert asyncio.run(work()) > 0


def test_who_has_lost_the_connection_is_not_shown_as_leader(incident: Incident) -> None:
    mitigator = Mitigator(Mitigation(mode="enforce"))

    async def work() -> None:
        async with await Door.open(incident.agent) as door:
            await mitigator.consider(diagnose(await Collector(door).snapshot()), door)
            assert mitigator.standing.leads
            door.abandon()
        assert not mitigator.standing.leads
        assert mitigator.standing.mode == "enforce"

    asyncio.run(work())


def test_a_follower_signals_nobody_and_says_why(incident: Incident) -> None:
    holder = incident.app("update orders set v = 1 where id = 1")
    incident.app().block("update orders set v = 2 where id = 1")
    leading = psycopg.connect(incident.scene.dsn, autocommit=True)
    leading.execute("select pg_advisory_lock(%s)", [LEADER_KEY])
    actions, mitigator = incident.mitigate(replace(IDLE, min_wait=Duration(0)), min_samples=1, patience=0.3)
    assert actions == []
    assert mitigator.refused["leader"] == 1
    assert not mitigator.standing.leads
    assert incident.alive(holder)
    leading.close()


@pytest.mark.long
@pytest.mark.deadline(300)
def test_h23_two_agents_send_one_signal_for_each_decision_though_their_leader_is_killed(
    incident: Incident, tmp_path: Path
) -> None:
    """The victims count the cancels that they get, and go on. `make bench ARGS=leaders` has more rounds."""
    counted = compete(incident, tmp_path / "journal.db", rounds=40)
    assert counted["twice"] == 0
    assert counted["killed"] > 5
    assert counted["once"] > 30
    # Where the leader dies between intent and signal nobody else sends it: it may have been sent.
    assert counted["never"] <= counted["killed"]
