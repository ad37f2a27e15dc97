"""H69b: no session is signalled for a lock that changes hands, until one comes to stay."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import LiteralString

import psycopg
import pytest
from msgspec.structs import replace

from pgdoctor.enforcement.mitigator import Mitigator
from pgdoctor.fields import Duration
from pgdoctor.mitigation.history import History
from pgdoctor.mitigation.plan import Plan, make_plan
from pgdoctor.mitigation.rules import Mitigation
from pgdoctor.observer.observer import Observer
from pgdoctor.postgres.collect import Collector
from pgdoctor.postgres.connection import Connection
from pgdoctor.postgres.server_watch import ServerWatch
from tests.building import advisory, ago, session, snapshot
from tests.mitigation.build import about, reasons, settings
from tests.mitigation.conftest import Incident
from tests.mitigation.conftest import rule as quick
from tests.scenes.client import PATIENCE

TABLE: LiteralString = "lock table orders"
MUTEX: LiteralString = "select pg_advisory_xact_lock(7)"
ROW: LiteralString = "select from orders where id = 1 for update"
LOCKS = pytest.mark.parametrize("statement", [TABLE, MUTEX, ROW], ids=["table", "advisory", "row"])

CLASSES = ("explicit_lock", "long_query", "advisory_lock", "idle_in_transaction", "migration")

#: Seconds for which the first one holds, the others hold, and a rule asks for: far apart, for a machine may be loaded.
FIRST, OTHERS, MIN_WAIT = 1.5, 0.4, 0.05


def judge(made: Plan, pid: int) -> set[str]:
    return reasons(about(made, pid))


def test_an_advisory_lock_that_changes_hands_is_not_signalled_though_a_rule_names_its_class():
    def held(pid: int, at: float):
        facts = {"state_change": ago(at), "locks": (advisory(pid, granted=True),)}
        return snapshot(
            [session(pid, **facts), session(31, blockers=(pid,), locks=(advisory(31, granted=False),))], ago(at)
        )

    by = settings(quick("mutex", "advisory_lock", "terminate"), allow_short_waits=True)
    memory = Observer()
    [first, second, third] = [memory.diagnose_snapshot(held(pid, at)) for pid, at in ((1, 50), (2, 45), (3, 40))]
    assert not judge(make_plan(memory.diagnose_snapshot(held(3, 40)), by, History()), 3).isdisjoint({"no_rule"})
    named_so = replace(third.blockers[0], classification="advisory_lock")
    assert "recommendation" in judge(make_plan(replace(third, blockers=(named_so,)), by, History()), 3)
    assert "recommendation" not in judge(make_plan(second, by, History()), 2)
    assert about(make_plan(first, by, History()), 1).rule is not None


# On a real server.


def keep_idle(connection: psycopg.Connection, seconds: float) -> None:
    threading.Event().wait(seconds)


def keep_running(connection: psycopg.Connection, seconds: float) -> None:
    connection.execute("select pg_sleep(%s)", [seconds])


@contextmanager
def taking_turns(
    incident: Incident, statement: LiteralString, keep: Callable[[psycopg.Connection, float], None]
) -> Iterator[list[threading.Thread]]:
    """Eight workers that hold a lock in turn, each for a moment, and the first one for longer."""
    failed: list[BaseException] = []
    began = threading.Event()

    def work(place: int) -> None:
        try:
            with psycopg.connect(incident.app_dsn, application_name="worker") as connection:
                connection.execute(statement)
                began.set()
                keep(connection, OTHERS if place else FIRST)
                connection.commit()
        except BaseException as error:
            failed.append(error)

    workers = [threading.Thread(target=work, args=(place,), daemon=True) for place in range(8)]
    workers[0].start()
    assert began.wait(PATIENCE)
    for each in workers[1:]:
        each.start()
    yield workers
    for each in workers:
        each.join(60)
    assert failed == []


async def watch_until(incident: Incident, workers: list[threading.Thread], *rules) -> tuple[list[str], int]:
    """The classes of the widest root once it has had two holders before, and how many actions were taken then."""
    mitigator = Mitigator(
        Mitigation(mode="enforce", cooldown=Duration(0), min_samples=1, allow_short_waits=True, rules=rules)
    )
    found = []
    async with await Connection.open(incident.agent) as door:
        watch = ServerWatch(Collector(door))
        while any(each.is_alive() for each in workers):
            diagnosis = await watch.diagnose_server()
            turns = [each.earlier for each in diagnosis.snapshot.lock_turns.values()]
            if max(turns, default=0) >= 2:
                found.append(diagnosis.blockers[0].classification)
                await mitigator.consider(diagnosis, door, watch.read_at)
            await asyncio.sleep(0.05)
    return found, len(mitigator.history.actions)


@pytest.mark.parametrize(
    ("statement", "keep"),
    [
        pytest.param(ROW, keep_idle, id="row-idle"),
        pytest.param(TABLE, keep_running, id="table-running"),
        pytest.param(MUTEX, keep_idle, id="advisory-idle", marks=pytest.mark.long),
        pytest.param(MUTEX, keep_running, id="advisory-running", marks=pytest.mark.long),
        pytest.param(ROW, keep_running, id="row-running", marks=pytest.mark.long),
        pytest.param(TABLE, keep_idle, id="table-idle", marks=pytest.mark.long),
    ],
)
def test_h69b_holders_that_take_turns_are_not_signalled(
    incident: Incident, statement: LiteralString, keep: Callable[[psycopg.Connection, float], None]
) -> None:
    rules = [quick("all", CLASSES, "terminate", min_wait=Duration(MIN_WAIT))]
    with taking_turns(incident, statement, keep) as workers:
        classes, actions = asyncio.run(watch_until(incident, workers, *rules))
    assert actions == 0
    assert set(classes) == {"hot_row"}


@pytest.mark.parametrize("statement", [TABLE, MUTEX], ids=["table", "advisory"])
def test_h69b_a_lock_that_has_just_changed_hands_has_no_offender_yet(
    incident: Incident, statement: LiteralString
) -> None:
    """Once is enough where the holder may have had it for seconds only: commands take two snapshots for that."""
    first = incident.app(statement).start("select pg_sleep(60)")
    second = incident.app().block(statement)
    others = [incident.app().block(statement) for _ in range(2)]
    rules = (quick("all", CLASSES, "cancel", min_wait=Duration(0)),)
    mitigator = Mitigator(
        Mitigation(mode="enforce", cooldown=Duration(0), min_samples=1, allow_short_waits=True, rules=rules)
    )

    async def poll_twice() -> list[str]:
        memory, found = Observer(), []
        async with await Connection.open(incident.agent) as door:
            for _ in range(2):
                diagnosis = memory.diagnose_snapshot(await Collector(door).fetch_snapshot())
                found.append(diagnosis.blockers[0].classification)
                await mitigator.consider(diagnosis, door)
                if len(found) == 1:
                    incident.scene.admin.execute("select pg_cancel_backend(%s)", [first.pid])
                    await asyncio.to_thread(second.finish)
                    second.start("select pg_sleep(60)")
        return found

    classes = asyncio.run(poll_twice())
    assert classes[1] == "hot_row"
    assert (mitigator.history.actions, all(each.busy for each in others)) == ((), True)


@LOCKS
def test_h69b_a_holder_that_comes_to_stay_is_signalled(incident: Incident, statement: LiteralString) -> None:
    rules = [quick("all", CLASSES, "terminate", min_wait=Duration(MIN_WAIT))]
    clients = [incident.app(statement)]
    clients += [incident.app().block(statement) for _ in range(3)]

    async def until_signalled() -> list[int]:
        mitigator = Mitigator(
            Mitigation(mode="enforce", cooldown=Duration(0), min_samples=1, allow_short_waits=True, rules=rules)
        )
        async with await Connection.open(incident.agent) as door:
            watch = ServerWatch(Collector(door))
            for holder in clients[:2]:
                await watch.diagnose_server()
                await asyncio.to_thread(holder.run, "commit")
            while not mitigator.history.actions:
                await mitigator.consider(await watch.diagnose_server(), door, watch.read_at)
                await asyncio.sleep(0.05)
        return [each.victim.pid for each in mitigator.history.actions]

    assert asyncio.run(until_signalled()) == [clients[2].pid]
    clients[3].finish()
