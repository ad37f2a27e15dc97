"""Deadlocks: named while they last, remembered when they are over, counted where no snapshot has shown them."""

import asyncio
import math
from datetime import timedelta

from msgspec.structs import replace

from pgdoctor.agent.polling.pacing import Pacing
from pgdoctor.agent.polling.poll import PollRunner
from pgdoctor.config.config import AgentSettings
from pgdoctor.diagnosis.deadlocks import RECENT, DeadlockHistory, record_counters
from pgdoctor.diagnosis.diagnose import diagnose
from pgdoctor.incidents.incident_log import IncidentRecord
from pgdoctor.incidents.snapshot_archive import StoredVerdict, diagnose_again, pack_diagnosis, unpack_snapshot
from pgdoctor.model.diagnosis import Diagnosis, Finding
from pgdoctor.model.server_context import DatabaseStats, ServerContext
from pgdoctor.model.snapshot import PastDeadlock, Snapshot
from pgdoctor.observer.observer import Observer
from pgdoctor.postgres.connection import Connection
from pgdoctor.render.incident_view import IncidentView, KeptSnapshot
from pgdoctor.render.postmortem import render_postmortem
from tests.building import NOW, ago, row, session, snapshot, transaction
from tests.looking import snapshot as read
from tests.scenes import Client, Scene
from tests.scenes.client import wait_until

_PATIENT = {"options": "-c deadlock_timeout=60s"}


def _cycle(seconds: float = 0.0) -> Snapshot:
    """Two sessions that have each changed a row of orders, and want the other's."""

    def member(pid: int, other: int, application: str):
        locks = (transaction(pid, pid, granted=True), *row(pid, other))
        text = f"update orders set v = {pid} where id = {other}"
        return session(pid, blockers=(other,), locks=locks, application_name=application, statement=text, has_xid=True)

    return snapshot((member(1, 2, "transfer-1"), member(2, 1, "transfer-2")), ago(seconds))


def _deadlocks(found: Diagnosis) -> list[Finding]:
    return [note for note in found.findings if note.kind == "deadlock"]


def _staged(scene: Scene) -> tuple[Client, Client]:
    scene.admin.execute("create table acc (id int primary key, v int); insert into acc values (1, 0), (2, 0)")
    one = scene.client("update acc set v = 7001 where id = 1", application_name="transfer-1", **_PATIENT)
    two = scene.client("update acc set v = 7001 where id = 2", application_name="transfer-2", **_PATIENT)
    one.block("update acc set v = 7001 where id = 2")
    two.block("update acc set v = 7001 where id = 1")
    return one, two


def test_deadlock_is_named_while_it_lasts_and_when_it_is_over(scene: Scene) -> None:
    one, two = _staged(scene)
    memory = Observer()
    [note] = _deadlocks(memory.diagnose_snapshot(read(scene.dsn)))
    assert "wait for each other" in note.summary
    assert "signal none" in note.advice
    assert "rows of public.acc in one order" in note.advice
    for each, application in ((one, "transfer-1"), (two, "transfer-2")):
        [line] = [line for line in note.evidence if line.startswith(f"{each.pid},")]
        assert application in line
        assert "waits for a row of public.acc: update acc set v = ? where id = ?" in line
    assert "7001" not in str(note)
    scene.admin.execute("select pg_cancel_backend(%s)", [one.pid])
    two.finish()
    [past] = _deadlocks(memory.diagnose_snapshot(read(scene.dsn)))
    assert past.summary.startswith("1 deadlock within the last 15 min")
    assert '"transfer-1"' in past.summary
    assert '"transfer-2"' in past.summary
    assert "on public.acc" in past.summary
    assert "rows of public.acc in one order" in past.advice


def test_wait_without_a_cycle_is_no_deadlock(scene: Scene) -> None:
    scene.admin.execute("create table acc (id int primary key); insert into acc values (1)")
    scene.client("delete from acc")
    scene.client().block("delete from acc")
    assert not _deadlocks(Observer().diagnose_snapshot(read(scene.dsn)))


def test_deadlock_in_several_snapshots_is_one_and_is_forgotten() -> None:
    memory = Observer()
    for seconds in (1000, 999, 998):
        assert len(_deadlocks(memory.diagnose_snapshot(_cycle(seconds)))) == 1
    [past] = _deadlocks(memory.diagnose_snapshot(snapshot((), ago(900))))
    assert past.numbers == {"deadlocks": 1}
    late = NOW - timedelta(seconds=1000) + RECENT + timedelta(seconds=1)
    assert not _deadlocks(memory.diagnose_snapshot(snapshot((), late)))


def _counted(seconds: float, **databases: int) -> ServerContext:
    return ServerContext(
        read_at=ago(seconds), work={name: DatabaseStats(deadlocks=number) for name, number in databases.items()}
    )


def test_deadlock_that_no_snapshot_has_shown_is_counted() -> None:
    memory = Observer()
    memory.diagnose_snapshot(replace(snapshot((), ago(60)), surroundings=_counted(60, shop=5, other=1)))
    seen = replace(snapshot((), ago(30)), surroundings=_counted(30, shop=7, other=1, late=9))
    [note] = _deadlocks(memory.diagnose_snapshot(seen))
    assert note.summary == "2 deadlocks within the last 15 min, the latest 0.0 s ago, in database shop"
    assert "the server's log has both statements" in note.advice
    assert note.numbers == {"deadlocks": 2}
    # The same reading says nothing new.
    assert _deadlocks(memory.diagnose_snapshot(replace(snapshot((), ago(29)), surroundings=seen.surroundings)))[
        0
    ].numbers == {"deadlocks": 2}


def test_counter_that_begins_again_counts_no_deadlock() -> None:
    history = record_counters(DeadlockHistory(), _counted(60, shop=5))
    history = record_counters(history, _counted(45, shop=0))
    history = record_counters(history, ServerContext(read_at=ago(30)))
    assert record_counters(history, _counted(15, shop=0)).counted == ()


def test_deadlock_that_was_seen_and_counted_is_one() -> None:
    memory = Observer()
    memory.diagnose_snapshot(replace(snapshot((), ago(60)), surroundings=_counted(60, shop=5)))
    memory.diagnose_snapshot(_cycle(50))
    [note] = _deadlocks(memory.diagnose_snapshot(replace(snapshot((), ago(45)), surroundings=_counted(45, shop=6))))
    assert note.numbers == {"deadlocks": 1}
    [note] = _deadlocks(memory.diagnose_snapshot(replace(snapshot((), ago(30)), surroundings=_counted(30, shop=7))))
    assert note.numbers == {"deadlocks": 2}


def test_agent_counts_the_deadlocks_of_the_server(scene: Scene) -> None:
    async def count() -> tuple[int, int]:
        runner = PollRunner(AgentSettings(), Pacing())
        async with await Connection.open(scene.dsn, 5.0) as door:
            await _survey(runner, door)
            before = runner.deadlocks
            one, two = _staged(scene)
            scene.admin.execute("select pg_cancel_backend(%s)", [one.pid])
            two.finish()
            wait_until(lambda: not one.busy)
            one.run("rollback")
            two.run("rollback")
            _deadlock(scene)
            for _ in range(300):
                await _survey(runner, door)
                if runner.deadlocks:
                    break
                await asyncio.sleep(0.1)
            await _survey(runner, door)
            return before, runner.deadlocks

    assert asyncio.run(count()) == (0, 1)


async def _survey(runner: PollRunner, door: Connection) -> None:
    await runner.examine(door)
    runner.budget = replace(runner.budget, surveyed_at=-math.inf)
    await runner.read_server_context(door)


def _deadlock(scene: Scene) -> None:
    """One that the server itself ends; whichever of the two it chooses."""
    quick = {"options": "-c deadlock_timeout=10ms"}
    one = scene.client("update acc set v = 1 where id = 1", **quick)
    two = scene.client("update acc set v = 1 where id = 2", **_PATIENT)
    two.block("update acc set v = 1 where id = 1")
    one._begin("update acc set v = 1 where id = 2")
    wait_until(lambda: not one.busy)
    one.close()
    two.close()


def test_past_deadlocks_stay_in_the_archive() -> None:
    memory = Observer()
    memory.diagnose_snapshot(_cycle(10))
    kept = diagnose_again(unpack_snapshot(pack_diagnosis(memory.diagnose_snapshot(snapshot((), ago(5))))))
    assert _deadlocks(kept)[0].summary.startswith("1 deadlock within the last 15 min")


def test_post_mortem_says_that_it_was_a_deadlock() -> None:
    entry = IncidentRecord(
        id="1",
        event="ended",
        at=NOW,
        started=ago(2),
        classes=("unknown",),
        blocked=0,
        peak=2,
        longest_wait=1.0,
        seconds=2.0,
        relation="public.orders",
        recommendation="none",
    )
    found = diagnose(_cycle())
    text = render_postmortem(
        IncidentView((entry,), (KeptSnapshot(NOW, 2, tuple(map(StoredVerdict.of, found.blockers)), found),)),
        {"unknown": "?"},
    )
    assert "**deadlock**: sessions waited for each other" in text
    assert "transfer-1" in text
    assert "- deadlock: have each transaction take its rows of public.orders in one order" in text
    assert "- unknown:" not in text


def test_hostile_names_of_a_deadlock_stay_out_of_the_way() -> None:
    past = PastDeadlock(ago(5), database="x\n\x1b[31m")
    [note] = _deadlocks(diagnose(replace(snapshot(()), past_deadlocks=(past,))))
    assert note.summary.isprintable()
    assert all(line.isprintable() for line in note.evidence)
