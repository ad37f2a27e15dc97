"""Of several who could act at one server one does: the one whose connection holds the leader lock."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from msgspec.structs import replace
from psycopg.conninfo import make_conninfo

from pgdoctor.diagnosis.diagnose import diagnose
from pgdoctor.enforcement.leader import REHEARSAL_KEY, LeaderElection
from pgdoctor.enforcement.mitigator import Mitigator
from pgdoctor.errors import ServerError
from pgdoctor.fields import Duration
from pgdoctor.mitigation.rules import Mitigation, Mode
from pgdoctor.model.identity import Identity
from pgdoctor.postgres.collect import Collector
from pgdoctor.postgres.connection import Connection
from pgdoctor.postgres.signal import LEADER_KEY, send_signal
from tests.leading import take_the_lead
from tests.mitigation.competing import compete
from tests.mitigation.conftest import IDLE, Incident
from tests.mitigation.contending import elect
from tests.scenes import Scene
from tests.scenes.client import wait_until

NOW = datetime(2026, 5, 22, tzinfo=UTC)


@asynccontextmanager
async def doors(*dsns: str) -> AsyncIterator[list[Connection]]:
    opened = [await Connection.open(dsn) for dsn in dsns]
    try:
        yield opened
    finally:
        for door in opened:
            door.abandon()


async def tries(door: Connection, mode: Mode = "enforce") -> bool:
    """Whether a new agent gets leadership."""
    return await LeaderElection().try_to_lead(door, mode, NOW)


def test_second_agent_at_a_server_follows_in_any_database(scene: Scene) -> None:
    other = make_conninfo(scene.dsn, dbname=scene.database())

    async def work() -> None:
        async with doors(scene.dsn, scene.dsn, other) as (first, second, elsewhere):
            leader = await take_the_lead(first)
            assert leader.leads
            assert leader.since is not None
            assert not await tries(second)
            assert not await tries(elsewhere)
            # Nothing is left of the attempt: it does not keep the next one from leading.
            await leader.resign_leadership()
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
            assert not await leader.try_to_lead(first, "enforce", NOW)

    asyncio.run(work())


def test_leadership_begins_again_with_a_new_connection(scene: Scene) -> None:
    async def work() -> None:
        async with doors(scene.dsn, scene.dsn) as (first, second):
            leader = await take_the_lead(first)
            before = leader.since
            assert before is not None
            assert not await leader.try_to_lead(second, "enforce", NOW)
            first.abandon()
            wait_until(lambda: not holders(scene))
            leader = LeaderElection()
            assert await leader.try_to_lead(second, "enforce", NOW)
            assert leader.since == NOW

    asyncio.run(work())


def test_rehearsal_keeps_no_agent_from_acting(scene: Scene) -> None:
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
                if await leader.try_to_lead(door, "dry_run", NOW):
                    break
                await asyncio.sleep(0.05)
            assert (holders(scene), holders(scene, REHEARSAL_KEY)) == (0, 1)

    asyncio.run(work())


def holders(scene: Scene, key: int = LEADER_KEY) -> int:
    [(found,)] = scene.admin.execute(
        "select count(*) from pg_locks where locktype = 'advisory' and granted and objid = %s", [key & 0xFFFFFFFF]
    ).fetchall()
    return int(found)


@pytest.mark.parametrize("mode", ["enforce", pytest.param("dry_run", marks=pytest.mark.long)])
def test_h58_of_any_number_of_contenders_one_leads_within_two_polls(scene: Scene, mode: Mode) -> None:
    """In four databases, some slow, some dead in between: never two, never none. `tests.bench leaders` has 1,000."""
    dsns = [scene.dsn, *(make_conninfo(scene.dsn, dbname=scene.database()) for _ in range(3))]
    counted = asyncio.run(elect([*dsns, *dsns[:2]], rounds=40, mode=mode))
    assert counted["elected: one"] == counted["followed: one"] == 40, counted
    assert counted["resigned"] > 5
    assert counted["died"] > 5


def test_h58_four_contenders_in_four_databases_elect_a_leader_in_step(scene: Scene) -> None:
    """The worst case: each takes its claim before any other looks, in every round."""
    dsns = [scene.dsn, *(make_conninfo(scene.dsn, dbname=scene.database()) for _ in range(3))]

    async def work() -> None:
        async with doors(*dsns) as opened:
            for door in opened:
                door.__class__ = InStep
            for _ in range(10):
                leaders = [LeaderElection() for _ in opened]
                InStep.barrier = asyncio.Barrier(len(opened))
                # No agent can know at the first poll: each sees all the others' claims.
                assert await all_poll(leaders, opened) == 0
                InStep.barrier = None
                assert await all_poll(leaders, opened) == 1
                for each in leaders:
                    await each.resign_leadership()

    asyncio.run(work())


class InStep(Connection):
    """After each of its statements about locks it waits for all the others to have got as far."""

    barrier: asyncio.Barrier | None = None

    async def fetch(self, name: str, **parameters: object) -> Sequence[Any]:
        rows = await super().fetch(name, **parameters)
        if self.barrier is not None and name in ("leaders", "acquire_leader_lock"):
            await self.barrier.wait()
        return rows


async def all_poll(leaders: Sequence[LeaderElection], opened: Sequence[Connection]) -> int:
    """How many lead after a poll of all of them."""
    return sum(
        await asyncio.gather(*(a.try_to_lead(door, "enforce", NOW) for a, door in zip(leaders, opened, strict=True)))
    )


def test_agent_without_a_connection_is_not_shown_as_leader(incident: Incident) -> None:
    mitigator = Mitigator(Mitigation(mode="enforce"))

    async def work() -> None:
        async with await Connection.open(incident.agent) as door:
            await mitigator.consider(diagnose(await Collector(door).fetch_snapshot()), door)
            assert mitigator.standing.leads
            door.abandon()
        assert not mitigator.standing.leads
        assert mitigator.standing.mode == "enforce"

    asyncio.run(work())


def test_a_follower_signals_no_session_and_says_the_leader(incident: Incident) -> None:
    holder = incident.app("update orders set v = 1 where id = 1")
    incident.app().block("update orders set v = 2 where id = 1")
    leading = psycopg.connect(incident.agent, autocommit=True, application_name="pgdoctor")
    leading.execute("select pg_advisory_lock(%s)", [LEADER_KEY])
    actions, mitigator = incident.mitigate(replace(IDLE, min_wait=Duration(0)), min_samples=1, patience=0.3)
    assert actions == []
    assert mitigator.refused["leader"] == 1
    assert not mitigator.standing.leads
    [said] = [each.objection for each in mitigator.plan.decisions[0].objections if each.guard == "leader"]
    assert said is not None
    assert f"PID {leading.info.backend_pid} from 127.0.0.1 is the leader" in said
    assert incident.alive(holder)
    leading.close()


def test_h59_a_stranger_with_the_leader_lock_does_not_stop_mitigation(incident: Incident) -> None:
    """Any role may take any advisory lock, and call itself pgdoctor: it is no contender, in whatever database."""
    holder = incident.app("update orders set v = 1 where id = 1")
    incident.app().block("update orders set v = 2 where id = 1")
    elsewhere = make_conninfo(incident.app_dsn, dbname=incident.scene.database())
    strangers = [
        psycopg.connect(dsn, autocommit=True, application_name=name)
        for dsn in (incident.app_dsn, elsewhere)
        for name in ("pgdoctor", "psql")
    ]
    for stranger, key in zip(strangers, (LEADER_KEY, LEADER_KEY, LEADER_KEY - 2, LEADER_KEY + 2), strict=True):
        stranger.execute("select pg_try_advisory_lock(%s)", [key])
    actions, mitigator = incident.mitigate(IDLE)
    assert [(each.victim.pid, each.outcome) for each in actions] == [(holder.pid, "released")]
    assert mitigator.refused["leader"] == 0
    for stranger in strangers:
        stranger.close()


def test_h59_a_role_that_may_signal_counts_as_another_pgdoctor(incident: Incident) -> None:
    """It could end us anyway. An operator's command under a role of its own and an agent never act side by side."""
    holder = incident.app("update orders set v = 1 where id = 1")
    incident.app().block("update orders set v = 2 where id = 1")
    operator = incident.scene.role("operator", "pg_monitor", "pg_signal_backend")

    async def work() -> None:
        async with doors(operator) as (door,):
            await take_the_lead(door)
            actions, mitigator = await asyncio.to_thread(incident.mitigate, IDLE)
            assert actions == []
            [said] = [each.objection for each in mitigator.plan.decisions[0].objections if each.guard == "leader"]
            assert "of another role" in (said or "")

    asyncio.run(work())
    assert incident.alive(holder)


def test_h60_a_second_leader_is_seen_by_the_signal_itself(incident: Incident) -> None:
    """Where the protocol failed, the statement that signals would still see the other leader, in whatever database."""
    holder = incident.app("update orders set v = 1 where id = 1")
    incident.app().block("update orders set v = 2 where id = 1")
    elsewhere = make_conninfo(incident.agent, dbname=incident.scene.database())

    async def work() -> str:
        async with doors(incident.agent) as (door,):
            await take_the_lead(door)
            snapshot = await Collector(door).fetch_snapshot()
            identity = Identity.of(snapshot.sessions[holder.pid])
            assert identity is not None
            with psycopg.connect(elsewhere, autocommit=True, application_name="pgdoctor") as other:
                other.execute("select pg_advisory_lock(%s)", [LEADER_KEY + 8])
                return (await send_signal(door, "terminate", identity, min_wait=0)).answer

    assert asyncio.run(work()) == "gone"
    assert incident.alive(holder)


@pytest.mark.long
@pytest.mark.deadline(300)
def test_h23_two_agents_send_one_signal_for_each_decision_though_their_leader_is_killed(
    incident: Incident, tmp_path: Path
) -> None:
    """The victims count the cancels that they get, and go on. `make bench ARGS=leaders` has more rounds."""
    counted = compete(incident, (tmp_path / "journal.db", tmp_path / "journal.db"), rounds=40)
    assert counted["twice"] == 0
    assert counted["killed"] > 5
    assert counted["once"] > 30
    # Where the leader dies between intent and signal no other session sends it: it may have been sent.
    assert counted["never"] <= counted["killed"]
