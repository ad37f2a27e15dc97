"""The signal itself: one statement that checks who it is and signals, and never another session."""

import asyncio
import re
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from msgspec.structs import replace

from pgdoctor.model.identity import Identity
from pgdoctor.postgres.connection import Connection
from pgdoctor.postgres.dsn import APPLICATION_NAME
from pgdoctor.postgres.queries import load_sql
from pgdoctor.postgres.signal import LEADER_KEY, Signal, SignalReply, send_signal
from tests.leading import take_the_lead
from tests.postgres.racing import race
from tests.postgres.terminate_racing import race_terminates
from tests.scenes import Client, Scene

_IDENTITY = """
    select pid, backend_start, xact_start, query_start, state, state_change from pg_stat_activity where pid = %s
"""


def identity(scene: Scene, pid: int) -> Identity:
    [row] = scene.admin.execute(_IDENTITY, [pid]).fetchall()
    return Identity(*row)


def signal(
    scene: Scene, which: Signal, victim: Identity, min_wait: float = 0.0, *, unchanged: bool = False
) -> SignalReply:
    async def work() -> SignalReply:
        async with await Connection.open(scene.dsn) as door:
            await take_the_lead(door)
            return await send_signal(door, which, victim, min_wait=min_wait, unchanged=unchanged)

    return asyncio.run(work())


@pytest.fixture
def holder(scene: Scene) -> Client:
    """Holds a row up that a session waits for."""
    scene.admin.execute("create table orders (id int primary key, v int)")
    scene.admin.execute("insert into orders values (1, 0)")
    client = scene.client("update orders set v = 1")
    scene.client().block("update orders set v = 2")
    return client


SIGNALS: tuple[Signal, Signal] = ("cancel", "terminate")


@pytest.mark.parametrize("which", SIGNALS)
@pytest.mark.parametrize("part", ["backend_start", "xact_start", "query_start", "state_change"])
def test_h6_one_microsecond_off_is_another_session(scene: Scene, holder: Client, which: Signal, part: str) -> None:
    victim = identity(scene, holder.pid)
    moment = getattr(victim, part) + timedelta(microseconds=1)
    assert signal(scene, which, replace(victim, **{part: moment}), unchanged=True).answer == "gone"
    assert identity(scene, holder.pid) == victim


# What a terminate is bound to: the transaction, and the state that was judged.


@pytest.mark.parametrize("part", ["backend_start", "xact_start"])
def test_h66_a_terminate_hits_no_other_transaction(scene: Scene, holder: Client, part: str) -> None:
    victim = identity(scene, holder.pid)
    moment = getattr(victim, part) + timedelta(microseconds=1)
    assert signal(scene, "terminate", replace(victim, **{part: moment})).answer == "gone"
    assert identity(scene, holder.pid) == victim


def test_h66_terminate_hits_the_transaction_after_a_later_statement(scene: Scene, holder: Client) -> None:
    victim = identity(scene, holder.pid)
    holder.run("select 1")
    assert signal(scene, "cancel", victim).answer == "gone"
    assert signal(scene, "terminate", victim, unchanged=True).answer == "gone"
    assert signal(scene, "terminate", victim).answer == "sent"
    with pytest.raises(psycopg.OperationalError):
        holder.run("select 1")


def test_h66_a_terminate_spares_a_transaction_that_works_again(scene: Scene, holder: Client) -> None:
    victim = identity(scene, holder.pid)
    holder.start("select pg_sleep(60)")
    assert signal(scene, "terminate", victim).answer == "gone"
    assert holder.busy


def running(scene: Scene, holder: Client) -> Identity:
    holder.start("select pg_sleep(0.1)")
    victim = identity(scene, holder.pid)
    assert victim.state == "active"
    holder.finish()
    return victim


def test_h66_a_terminate_hits_the_next_statement_of_a_working_transaction(scene: Scene, holder: Client) -> None:
    victim = running(scene, holder)
    holder.start("select pg_sleep(60)")
    assert signal(scene, "terminate", victim).answer == "sent"
    with pytest.raises(psycopg.OperationalError):
        holder.finish()


@pytest.mark.parametrize(
    "ending", ["COMMIT", "/* by app */ Commit", "END", "rollback", "abort work", "-- pgdoctor:protect"]
)
def test_h66_a_terminate_spares_a_transaction_that_ends(scene: Scene, holder: Client, ending: str) -> None:
    """A deferred check keeps the end of the transaction long enough to be seen."""
    slow = "select pg_sleep(60); " if ending.lower().startswith(("roll", "abort", "--")) else ""
    scene.admin.execute(
        "create function nap() returns trigger language plpgsql as 'begin perform pg_sleep(60); return null; end';"
        "create table late (id int);"
        "create constraint trigger late after insert on late deferrable initially deferred "
        "for each row execute function nap()"
    )
    victim = running(scene, holder)
    holder.run("insert into late values (1)")
    holder.start(slow + ending)
    assert identity(scene, holder.pid).state == "active"
    assert signal(scene, "terminate", victim).answer == "gone"
    assert holder.busy


def test_h66_a_terminate_ends_the_judged_transaction_or_none(scene: Scene) -> None:
    counters = asyncio.run(race_terminates(scene.dsn, 40))
    assert counters.sent > 0
    assert counters.wrong == 0


def test_h66_outside_of_a_transaction_a_terminate_is_about_the_present_state(scene: Scene) -> None:
    holder = scene.client("select pg_advisory_lock(7)", autocommit=True)
    scene.client().block("select pg_advisory_lock(7)")
    victim = identity(scene, holder.pid)
    assert victim.xact_start is None
    holder.run("select 1")
    assert signal(scene, "terminate", victim).answer == "gone"
    assert signal(scene, "terminate", identity(scene, holder.pid)).answer == "sent"


@pytest.mark.parametrize("which", SIGNALS)
@pytest.mark.parametrize("change", [{"state": "active"}, {"xact_start": None}, {"query_start": None}, {"pid": 1}])
def test_another_state_is_another_session(scene: Scene, holder: Client, which: Signal, change: dict[str, Any]) -> None:
    victim = identity(scene, holder.pid)
    assert signal(scene, which, replace(victim, **change)).answer == "gone"
    assert identity(scene, holder.pid) == victim


@pytest.mark.parametrize("which", SIGNALS)
def test_session_without_waiters_is_not_signalled(scene: Scene, which: Signal) -> None:
    alone = scene.client("select 1")
    assert signal(scene, which, identity(scene, alone.pid)).answer == "gone"
    alone.run("select 1")


@pytest.mark.parametrize("which", SIGNALS)
def test_signal_needs_a_wait_of_the_minimum(scene: Scene, holder: Client, which: Signal) -> None:
    assert signal(scene, which, identity(scene, holder.pid), min_wait=60).answer == "gone"
    holder.run("select 1")


@pytest.mark.parametrize("which", SIGNALS)
def test_a_session_without_the_leader_lock_signals_no_session(scene: Scene, holder: Client, which: Signal) -> None:
    """Any session with any name: the server checks."""

    async def work() -> tuple[SignalReply, SignalReply]:
        async with await Connection.open(scene.dsn) as door:
            without = await send_signal(door, which, identity(scene, holder.pid), min_wait=0)
            leader = await take_the_lead(door)
            await leader.resign_leadership()
            return without, await send_signal(door, which, identity(scene, holder.pid), min_wait=0)

    assert [reply.answer for reply in asyncio.run(work())] == ["gone", "gone"]
    holder.run("select 1")


@pytest.mark.parametrize("which", SIGNALS)
def test_another_pgdoctor_is_not_signalled(scene: Scene, which: Signal) -> None:
    other = scene.client("select pg_advisory_lock(7)", application_name="pgdoctor")
    scene.client().block("select pg_advisory_lock(7)")
    assert signal(scene, which, identity(scene, other.pid)).answer == "gone"
    other.run("select 1")


def test_pgdoctor_does_not_signal_itself(scene: Scene) -> None:
    """Not even where it holds others up and calls itself something else."""

    async def work() -> SignalReply:
        async with await Connection.open(scene.dsn) as door:
            pid = door.connection.info.backend_pid
            await door.connection.execute("set application_name = 'somebody'")
            await take_the_lead(door)
            await door.connection.execute("select pg_advisory_lock(7)")
            scene.client().block("select pg_advisory_lock(7)")
            now = identity(scene, pid)
            return await send_signal(door, "terminate", replace(now, state="active"), min_wait=0)

    assert asyncio.run(work()).answer == "gone"


def ask(scene: Scene, victim: Identity, **changed: object) -> list[object]:
    """What the statement answers to a leader whose parameters are these."""

    async def work() -> list[object]:
        async with await Connection.open(scene.dsn) as door:
            await take_the_lead(door)
            parameters = {
                **{name: getattr(victim, name) for name in victim.__struct_fields__},
                **{"min_wait": 0.0, "own_application": APPLICATION_NAME, "leader_key": LEADER_KEY},
                **{"waiting_pids": None, "record": None, "timeout_ms": 1000},
            }
            rows = await door.fetch("signal_session", **{**parameters, **changed})
            return [row.accepted for row in rows]

    return asyncio.run(work())


def test_signal_statement_sends_no_unknown_signal(scene: Scene, holder: Client) -> None:
    victim = identity(scene, holder.pid)
    assert ask(scene, victim, signal="kill") == [None]
    assert ask(scene, victim, signal=None) == [None]
    assert ask(scene, victim, signal="kill", state_change=None) == []
    holder.run("select 1")


def test_cancel_needs_the_state_that_was_judged(scene: Scene, holder: Client) -> None:
    """Only a terminate may be meant for the whole transaction."""
    victim = identity(scene, holder.pid)
    assert ask(scene, victim, signal="cancel", state_change=None) == []
    [accepted] = ask(scene, victim, signal="terminate", state_change=None)
    assert accepted is not None


def test_nothing_is_read_between_the_last_check_and_the_signal() -> None:
    _, _, after = load_sql("signal_session").rpartition("pg_stat_get_backend_xact_start")
    assert re.findall(r"pg_catalog\.(\w+)\(", after) == ["pg_cancel_backend", "pg_terminate_backend"]


def test_a_function_of_the_same_name_is_not_called(scene: Scene, holder: Client) -> None:
    scene.admin.execute("create function public.pg_terminate_backend(int, bigint) returns bool return false")
    scene.admin.execute(f"alter database {scene.admin.info.dbname} set search_path = public, pg_catalog")
    assert signal(scene, "terminate", identity(scene, holder.pid)).answer == "sent"
    with pytest.raises(psycopg.OperationalError):
        holder.run("select 1")


def test_refusal_of_the_server_is_reported(scene: Scene, holder: Client) -> None:
    agent = scene.role("agent", "pg_monitor", "pg_signal_backend")

    async def work() -> SignalReply:
        async with await Connection.open(agent) as door:
            await take_the_lead(door)
            return await send_signal(door, "terminate", identity(scene, holder.pid), min_wait=0)

    reply = asyncio.run(work())
    assert (reply.answer, reply.sqlstate) == ("not_permitted", "42501")
    holder.run("select 1")


@pytest.mark.long
@pytest.mark.deadline(300)
def test_h5_session_that_moved_on_after_the_poll_is_not_signalled(scene: Scene) -> None:
    """The race: a victim that runs statements of 4 ms back to back, and up to 8 ms between the poll and the signal.

    Between the server's own second look and its signal lie some microseconds; a statement that ends just there, and
    whose successor begins there too, would let the signal hit that one (measured: 0 of 35,234 signals). On a loaded
    machine the server may be put aside right there (measured: 1 of 110 signals), so a rare hit is no failure. A check
    by PID alone hits whatever runs by then. `make bench ARGS=races` has more.
    """
    found = asyncio.run(race(scene.dsn, 500, longest_delay=0.008))
    rare = found["pid alone"].wrong / 50
    assert found["identity"].wrong <= rare
    assert found["identity"].right > 20, "the race was no race"
    assert found["identity"].sent < 450, "nobody ever moved on"
    assert found["pid alone"].wrong > 100
    # The statement of a person has the second look too. The SQL to paste has one poll: its window is longer, and is
    # still below a millisecond (measured: 0 of 1,904 signals, where 957 of 3,000 by PID alone hit another statement).
    assert found["person"].wrong <= rare
    assert found["person"].right > 20
    assert found["pasted"].wrong < found["pid alone"].wrong / 20
    assert found["pasted"].right > 20
