"""H69: a wait for the holder before says nothing of the holder of now."""

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from msgspec.structs import replace

from pgdoctor.diagnosis.blocker.known_hold import KnownHold
from pgdoctor.enforcement.mitigator import Mitigator
from pgdoctor.fields import Duration
from pgdoctor.incidents.snapshot_archive import diagnose_again, pack_diagnosis, unpack_snapshot
from pgdoctor.mitigation.history import History
from pgdoctor.mitigation.plan import OnlySession, Plan, make_plan
from pgdoctor.mitigation.rules import Mitigation
from pgdoctor.model.snapshot import PreparedTransaction
from pgdoctor.observer.observer import Observer
from pgdoctor.postgres.collect import Collector
from pgdoctor.postgres.connection import Connection
from pgdoctor.postgres.server_watch import ServerWatch
from tests.building import advisory, ago, lock, row, session, snapshot, transaction
from tests.mitigation.build import about, ddl, idle, reader, reasons, rule, settings
from tests.mitigation.conftest import IDLE as FORGOTTEN
from tests.mitigation.conftest import Incident
from tests.mitigation.conftest import rule as quick
from tests.scenes.client import wait_until

HOLDER, WAITER = 10, 31
SLOW = settings(rule("slow", ("long_query", "explicit_lock", "migration"), "cancel"))


def holder(**facts):
    return session(HOLDER, **{"locks": (lock(HOLDER, "AccessExclusiveLock", granted=True),), **facts})


def waiter(seconds=60.0, **facts):
    return reader(WAITER, blockers=(HOLDER,), seconds=seconds, **facts)


def known(seen):
    """Seconds for which the holder is known to hold the waiter up."""
    return KnownHold(HOLDER, seen).measure_seconds([seen.sessions[WAITER]])


def judged(*snapshots, by=SLOW, only=None):
    """The decision about the holder by the last of some snapshots."""
    memory = Observer()
    for seen in snapshots:
        found = memory.diagnose_snapshot(seen)
    return about(make_plan(found, by, History(), only=only), HOLDER)


def objection(decision):
    [said] = [each.objection for each in decision.objections if each.guard == "min_wait"]
    return said


def test_a_running_holder_of_a_first_snapshot_is_not_known_to_hold_for_long():
    assert known(snapshot([holder(), waiter()])) == 0
    decision = judged(snapshot([holder(), waiter()]))
    assert reasons(decision) == {"min_wait"}
    assert objection(decision) == "the longest wait is 1 min 0 s, but no earlier snapshot shows that it held the lock"
    assert decision.lacks_known_hold


def test_an_idle_holder_has_held_since_it_idles():
    for state in ("idle in transaction", "idle in transaction (aborted)", "idle"):
        assert known(snapshot([holder(state=state, state_change=ago(7)), waiter()])) == 7


def test_a_holder_that_waits_itself_has_held_since_it_waits():
    own = lock(HOLDER, "ShareLock", granted=False, seconds=8, relation=6000)
    waits = holder(locks=(lock(HOLDER, "AccessExclusiveLock", granted=True), own), blockers=(99,))
    assert known(snapshot([waits, waiter(), session(99)])) == 8


@pytest.mark.parametrize(
    "facts",
    [{"state": "idle in transaction", "state_change": ago(0), "blockers": (99,)}, {"blockers": ()}],
    ids=["idle by now", "blocked by no session"],
)
def test_request_that_was_granted_while_the_server_was_read_is_no_long_hold(facts):
    """The lock table is read first: it shows a request that has waited for long, and is over."""
    granted = holder(locks=(lock(HOLDER, "AccessExclusiveLock", granted=False, seconds=60),), **facts)
    assert known(snapshot([granted, waiter(), session(99)])) == 0


def test_a_worker_that_waits_does_not_tell_since_when_its_leader_holds():
    own = lock(12345, "ShareLock", granted=False, seconds=8, relation=6000)
    waits = holder(locks=(lock(HOLDER, "AccessExclusiveLock", granted=True), own), blockers=(99,))
    assert known(snapshot([waits, waiter(), session(99)])) == 0


def test_a_wait_for_a_transaction_is_a_wait_for_this_one():
    locked = holder(locks=(transaction(HOLDER, HOLDER, granted=True),))
    waits = session(WAITER, blockers=(HOLDER,), locks=row(WAITER, HOLDER))
    assert known(snapshot([locked, waits])) == 60


def test_a_prepared_transaction_has_held_since_it_was_prepared():
    held = (lock(None, "AccessExclusiveLock", granted=True),)
    left = PreparedTransaction(-1, "left", 7, ago(9), "app", "shop", held)
    seen = snapshot([reader(WAITER, blockers=(-1,))], prepared=(left,))
    assert KnownHold(-1, seen).measure_seconds([seen.sessions[WAITER]]) == 9


def test_a_queued_request_is_in_the_way_since_it_waits():
    seen = snapshot([idle(99), ddl(HOLDER, blockers=(99,), seconds=20), waiter()])
    assert known(seen) == 20


@pytest.mark.parametrize("seconds", [14, 16])
def test_a_running_holder_counts_from_the_first_snapshot_that_shows_it(seconds):
    decision = judged(*(snapshot([holder(), waiter()], ago(each)) for each in (seconds, 5, 0)))
    assert reasons(decision) == (set() if seconds == 16 else {"min_wait"})
    if seconds == 14:
        assert objection(decision) == "it has been known to hold the lock for 14 s; the rule requires 15 s"


def test_known_hold_of_an_idle_session_survives_its_next_statement():
    before = snapshot([holder(state="idle in transaction", state_change=ago(30)), waiter()], ago(1))
    memory = Observer()
    memory.diagnose_snapshot(before)
    assert known(memory.diagnose_snapshot(snapshot([holder(), waiter()])).snapshot) == 30


def test_nothing_is_known_by_another_transaction_mode_or_lock():
    other = lock(HOLDER, "AccessExclusiveLock", granted=True, relation=6000)
    weaker = lock(HOLDER, "AccessShareLock", granted=True)
    queued = ddl(WAITER, blockers=(HOLDER,))
    elsewhere = session(WAITER, blockers=(HOLDER,), locks=(lock(WAITER, "ShareLock", granted=False, relation=6000),))
    for before in (
        [holder(xact_start=ago(70)), waiter()],
        [holder(backend_start=ago(4000)), waiter()],
        [holder(locks=(other,)), elsewhere],
        [holder(locks=(weaker,)), queued],
    ):
        memory = Observer()
        memory.diagnose_snapshot(snapshot(before, ago(20)))
        assert known(memory.diagnose_snapshot(snapshot([holder(), waiter()])).snapshot) == 0


def test_a_lock_that_no_session_wanted_in_between_begins_again():
    seen = [snapshot([holder(), waiter()], ago(20)), snapshot([], ago(10)), snapshot([holder(), waiter()])]
    assert reasons(judged(*seen)) == {"min_wait"}


def test_an_advisory_lock_outside_of_a_transaction_is_known_while_its_holder_idles():
    held = holder(state="idle", state_change=ago(20), xact_start=None, locks=(advisory(HOLDER, granted=True),))
    asks = session(WAITER, blockers=(HOLDER,), locks=(advisory(WAITER, granted=False),))
    assert known(snapshot([held, asks])) == 20


def test_a_short_wait_for_a_long_holder_is_a_short_wait():
    decision = judged(*(snapshot([holder(), waiter(seconds=3)], ago(each)) for each in (60, 0)))
    assert objection(decision) == "the longest wait is 3.0 s; the rule requires 15 s"
    assert not decision.lacks_known_hold


def test_of_several_waiters_the_longest_wait_for_it_counts():
    """One waits for the table for long, another one for its transaction for a moment: neither for both."""
    locks = (lock(HOLDER, "AccessExclusiveLock", granted=True), transaction(HOLDER, HOLDER, granted=True))
    other = session(32, blockers=(HOLDER,), locks=(transaction(32, HOLDER, granted=False),))
    seen = snapshot([holder(locks=locks), waiter(), replace(other, locks=(replace(other.locks[0], waitstart=ago(3)),))])
    assert KnownHold(HOLDER, seen).longest_wait(seen.sessions.values()) == 3


def test_operator_who_names_the_session_decides_by_the_waits():
    seen = snapshot([holder(), waiter()])
    assert reasons(judged(seen, only=OnlySession(HOLDER))) == set()
    assert "min_wait" in reasons(judged(seen, only=OnlySession(WAITER)))


def test_a_recorded_snapshot_gives_the_same_decision():
    memory = Observer()
    memory.diagnose_snapshot(snapshot([holder(), waiter()], ago(20)))
    kept = unpack_snapshot(pack_diagnosis(memory.diagnose_snapshot(snapshot([holder(), waiter()]))))
    assert known(kept.snapshot) == 20
    assert reasons(about(make_plan(diagnose_again(kept), SLOW, History()), HOLDER)) == set()


# On a real server.

#: Seconds for which each holds, and for which a rule asks: far apart, for a machine may be loaded.
HOLD, MIN_WAIT = 0.4, 2.0
CANCEL = quick("slow", ("explicit_lock", "long_query"), "cancel", min_wait=Duration(MIN_WAIT))
END = replace(FORGOTTEN, min_wait=Duration(MIN_WAIT))


def running(connection: psycopg.Connection) -> None:
    connection.execute(f"begin; lock table orders; select pg_sleep({HOLD}); select 1")
    connection.commit()


def idling(connection: psycopg.Connection, over: threading.Event) -> None:
    connection.execute("lock table orders")
    over.wait(HOLD)
    connection.commit()


#: By PID: seconds for which a worker held the table, at most: from the end of the one before it to its own end.
Holds = dict[int, float]


@contextmanager
def working(incident: Incident, *, idle: bool) -> Iterator[tuple[list[threading.Thread], Holds]]:
    """Eight workers that hold a table in turn, each for a moment; where the machine stalls, for longer."""
    failed: dict[int, BaseException] = {}
    held: Holds = {}
    ends = [time.monotonic()]
    never = threading.Event()

    def work() -> None:
        pid = 0
        try:
            with psycopg.connect(incident.app_dsn, application_name="worker") as connection:
                pid = connection.info.backend_pid
                idling(connection, never) if idle else running(connection)
        except BaseException as error:
            failed[pid] = error
        held[pid] = time.monotonic() - max(ends)
        ends.append(time.monotonic())

    workers = [threading.Thread(target=work, daemon=True) for _ in range(8)]
    for each in workers:
        each.start()
    yield workers, held
    for each in workers:
        each.join(60)
    assert {pid: error for pid, error in failed.items() if held[pid] < MIN_WAIT} == {}


async def watch_until(incident: Incident, workers: list[threading.Thread], *rules) -> tuple[list[Plan], set[int]]:
    """The plans of all looks while a session works, and the sessions that were signalled."""
    settings = Mitigation(mode="enforce", cooldown=Duration(0), min_samples=1, allow_short_waits=True, rules=rules)
    mitigator, plans = Mitigator(settings), []
    async with await Connection.open(incident.agent) as door:
        watch = ServerWatch(Collector(door))
        while any(each.is_alive() for each in workers):
            await mitigator.consider(await watch.diagnose_server(), door, watch.read_at)
            plans.append(mitigator.plan)
            await asyncio.sleep(0.05)
    return plans, {each.victim.pid for each in mitigator.history.actions}


@pytest.mark.parametrize("idle", [False, True], ids=["running", "idling"])
def test_h69_holders_that_take_turns_are_not_signalled_for_waits_of_others(incident: Incident, idle: bool) -> None:
    with working(incident, idle=idle) as (workers, held):
        plans, signalled = asyncio.run(watch_until(incident, workers, CANCEL, END))
    assert {pid: held[pid] for pid in signalled if held[pid] < MIN_WAIT} == {}
    late = [
        each for made in plans for each in made.decisions if each.root and (each.oldest_wait_seconds or 0) > MIN_WAIT
    ]
    assert late, "nobody waited for as long as the rule asks for"
    assert all("min_wait" in reasons(each) for each in late if each.rule and each.pid not in signalled)


def test_h69_a_running_holder_is_signalled_once_it_was_seen_for_long_enough(incident: Incident) -> None:
    keeps = incident.app("lock table orders").start("select pg_sleep(60)")
    waiter = incident.app(autocommit=True).block("select * from orders")
    wait_until(lambda: _waited(incident, waiter.pid) > 1.0)
    slow = replace(CANCEL, min_wait=Duration(1))
    [action], mitigator = incident.mitigate(slow, min_samples=1, most=1)
    assert (action.victim.pid, action.signal, action.outcome) == (keeps.pid, "cancel", "released")
    assert mitigator.refused["min_wait"] == 1
    waiter.finish()


def test_h69_an_idle_holder_is_signalled_at_the_first_poll(incident: Incident) -> None:
    keeps = incident.app("lock table orders")
    waiter = incident.app(autocommit=True).block("select * from orders")
    wait_until(lambda: _waited(incident, waiter.pid) > 0.5)
    [action], mitigator = incident.mitigate(replace(END, min_wait=Duration(0.5)), min_samples=1, most=1)
    assert (action.victim.pid, action.outcome) == (keeps.pid, "released")
    assert mitigator.refused["min_wait"] == 0
    waiter.finish()


def test_h69_a_running_holder_of_a_row_is_signalled_at_the_first_poll(incident: Incident) -> None:
    """A row's holder that runs is known by the wait for its transaction."""
    keeps = incident.app("update orders set v = 1 where id = 1").start("select pg_sleep(60)")
    waiter = incident.app(autocommit=True).block("update orders set v = 2 where id = 1")
    wait_until(lambda: _waited(incident, waiter.pid) > 0.5)
    [action], mitigator = incident.mitigate(replace(CANCEL, min_wait=Duration(0.5)), min_samples=1, most=1)
    assert (action.victim.pid, action.outcome) == (keeps.pid, "released")
    assert mitigator.refused["min_wait"] == 0
    waiter.finish()


def _waited(incident: Incident, pid: int) -> float:
    """Seconds for which a session waits, by the server's record."""
    waiting = "select extract(epoch from clock_timestamp() - waitstart) from pg_locks where pid = %s and not granted"
    rows = incident.scene.admin.execute(waiting, [pid]).fetchall()
    return float(rows[0][0] or 0) if rows else 0.0
