"""The statement behind a person's signal: it hits the session that was shown, and no other one ever."""

import asyncio
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from msgspec.structs import replace

from pgdoctor.model.identity import Identity
from pgdoctor.postgres.connection import Connection
from pgdoctor.postgres.signal import Signal, SignalReply, send_signal_by_person
from tests.postgres.test_signal import identity
from tests.scenes import Client, Scene

SIGNALS: tuple[Signal, Signal] = ("cancel", "terminate")


def signal(scene: Scene, which: Signal, victim: Identity, dsn: str | None = None) -> SignalReply:
    async def work() -> SignalReply:
        async with await Connection.open(dsn or scene.dsn, 5.0) as door:
            return await send_signal_by_person(door, which, victim)

    return asyncio.run(work())


@pytest.fixture
def busy(scene: Scene) -> Client:
    """Runs a statement for which no session waits."""
    return scene.client("select 1").start("select pg_sleep(60)")


# Whom it does not hit


@pytest.mark.parametrize("which", SIGNALS)
@pytest.mark.parametrize("part", ["backend_start", "xact_start"])
def test_one_microsecond_off_is_another_session(scene: Scene, busy: Client, which: Signal, part: str) -> None:
    victim = identity(scene, busy.pid)
    moment = getattr(victim, part) + timedelta(microseconds=1)
    assert signal(scene, which, replace(victim, **{part: moment})).answer == "gone"
    assert busy.busy


def test_a_cancel_does_not_hit_another_statement(scene: Scene, busy: Client) -> None:
    victim = identity(scene, busy.pid)
    earlier = (victim.query_start or victim.backend_start) - timedelta(microseconds=1)
    assert signal(scene, "cancel", replace(victim, query_start=earlier)).answer == "gone"
    assert busy.busy


def test_a_cancel_does_not_hit_a_statement_that_is_over(scene: Scene) -> None:
    """The server keeps its start, and would take the signal and do nothing."""
    client = scene.client("select 1").start("select pg_sleep(0.3)")
    victim = identity(scene, client.pid)
    client.finish()
    assert signal(scene, "cancel", victim).answer == "gone"


def test_a_terminate_spares_a_transaction_that_commits(scene: Scene) -> None:
    scene.admin.execute(
        "create function nap() returns trigger language plpgsql as 'begin perform pg_sleep(60); return null; end';"
        "create table late (id int);"
        "create constraint trigger late after insert on late deferrable initially deferred "
        "for each row execute function nap()"
    )
    client = scene.client("insert into late values (1)")
    victim = identity(scene, client.pid)
    client.start("COMMIT")
    assert signal(scene, "terminate", victim).answer == "gone"
    assert client.busy


@pytest.mark.parametrize("which", SIGNALS)
@pytest.mark.parametrize("change", [{"xact_start": None}, {"pid": 1}, {"pid": 0}])
def test_another_transaction_or_process_is_not_hit(
    scene: Scene, busy: Client, which: Signal, change: dict[str, Any]
) -> None:
    assert signal(scene, which, replace(identity(scene, busy.pid), **change)).answer == "gone"
    assert busy.busy


@pytest.mark.parametrize("which", SIGNALS)
def test_no_pgdoctor_is_hit(scene: Scene, which: Signal) -> None:
    other = scene.client("select 1", application_name="pgdoctor").start("select pg_sleep(60)")
    assert signal(scene, which, identity(scene, other.pid)).answer == "gone"
    assert other.busy


def test_outside_of_a_transaction_only_the_present_state_is_hit(scene: Scene) -> None:
    client = scene.client("select 1", autocommit=True)
    victim = identity(scene, client.pid)
    client.run("select 2")
    assert signal(scene, "terminate", victim).answer == "gone"
    assert signal(scene, "terminate", identity(scene, client.pid)).answer == "sent"


# Whom it hits


@pytest.mark.parametrize("which", SIGNALS)
def test_no_session_has_to_wait_and_none_to_lead(scene: Scene, busy: Client, which: Signal) -> None:
    assert signal(scene, which, identity(scene, busy.pid)).answer == "sent"
    with pytest.raises(psycopg.OperationalError):
        busy.finish()


def test_terminate_hits_the_transaction_with_any_current_statement(scene: Scene) -> None:
    client = scene.client("select 1")
    victim = identity(scene, client.pid)
    client.start("select pg_sleep(60)")
    assert signal(scene, "terminate", victim).answer == "sent"


def test_a_role_that_may_not_gets_a_message(scene: Scene, busy: Client) -> None:
    reply = signal(scene, "cancel", identity(scene, busy.pid), scene.role("watcher", "pg_monitor", "pg_signal_backend"))
    assert (reply.answer, reply.sqlstate) == ("not_permitted", "42501")
    assert busy.busy
