"""Protections and policies where a real server shows the identity of a user."""

import os
import signal
import time

import psycopg
import pytest
from msgspec.structs import replace

from pgdoctor.fields import Network, Qualified
from pgdoctor.mitigation.rules import Protect
from tests.mitigation.conftest import DDL, IDLE, SLOW, Incident

ALL_RULES = (IDLE, DDL, SLOW)


def test_a_member_of_a_protected_role_is_left_alone_from_the_grant_on(incident: Incident) -> None:
    """Also through another role; and once it is revoked, no more."""
    admin = incident.scene.admin
    for name in ("pgdoctor_protected", "team"):
        incident.scene.role(name)
    holder = incident.app("update orders set v = 1 where id = 1")
    waiter = incident.app().block("update orders set v = 2 where id = 1")
    admin.execute("grant pgdoctor_protected to team")
    admin.execute("grant team to app")
    actions, mitigator = incident.mitigate(*ALL_RULES, patience=0.5)
    assert actions == []
    assert mitigator.refused["protected_by_default"] == 1
    named = {"protect": (Protect(member_of=("team",)),), "protect_defaults": False}
    assert incident.mitigate(*ALL_RULES, **named, patience=0.5)[0] == []
    other = replace(IDLE, member_of=("pg_monitor",))
    assert incident.mitigate(other, protect_defaults=False, patience=0.5)[0] == []
    assert incident.alive(holder)
    admin.execute("revoke pgdoctor_protected from team")
    actions, _ = incident.mitigate(replace(IDLE, member_of=("team",)), patience=0.5)
    assert [action.outcome for action in actions] == ["released"]
    waiter.finish()


def test_clients_and_locks_of_sessions_are_known(incident: Incident) -> None:
    holder = incident.app("update orders set v = 1 where id = 1")
    waiter = incident.app().block("update orders set v = 2 where id = 1")
    for protect in (
        Protect(client_addr=(Network("127.0.0.0/8"), Network("::1"), Network("local"))),
        Protect(relation=(Qualified("public.orders"),)),
    ):
        actions, mitigator = incident.mitigate(*ALL_RULES, protect=(protect,), patience=0.5)
        assert actions == []
        assert mitigator.refused["protected"] == 1
    assert incident.mitigate(replace(IDLE, relation=(Qualified("public.elsewhere"),)), patience=0.3)[0] == []
    assert incident.alive(holder)
    actions, _ = incident.mitigate(replace(IDLE, relation=(Qualified("public.orders"),)), patience=0.5)
    assert [action.outcome for action in actions] == ["released"]
    waiter.finish()


@pytest.mark.parametrize(
    ("created", "written"),
    [
        ('public."user"', "public.user"),
        ('public."Odd ""name"""', 'public."Odd ""name"""'),
        ('"Odd.schema".plain', '"Odd.schema"."plain"'),
    ],
)
def test_a_relation_of_any_name_is_protected(incident: Incident, created: str, written: str) -> None:
    admin = incident.scene.admin
    admin.execute(f'create schema "Odd.schema"; create table {created} (id int primary key)')
    admin.execute(f'grant usage on schema "Odd.schema" to app; grant all on {created} to app')
    holder = incident.app(f"insert into {created} values (1)")
    waiter = incident.app().block(f"insert into {created} values (1)")
    protect = Protect(relation=(Qualified.parse(written),))
    assert incident.mitigate(*ALL_RULES, protect=(protect,), patience=0.5)[0] == []
    assert incident.alive(holder)
    actions, _ = incident.mitigate(replace(IDLE, relation=protect.relation), patience=0.5)
    assert [action.outcome for action in actions] == ["released"]
    waiter.finish()


@pytest.mark.parametrize("where", ["application_name", "comment"])
def test_h41_a_marked_session_is_left_alone(incident: Incident, where: str) -> None:
    marked = {"application_name": "nightly pgdoctor:protect"} if where == "application_name" else {}
    comment = "/* pgdoctor:protect */ " if where == "comment" else ""
    holder = incident.app(f"{comment}update orders set v = 1 where id = 1", **marked)
    incident.app().block("update orders set v = 2 where id = 1")
    actions, mitigator = incident.mitigate(*ALL_RULES, patience=0.5)
    assert actions == []
    assert mitigator.refused["marker"] == 1
    assert incident.alive(holder)


def test_h29_user_at_psql_is_left_alone(incident: Incident) -> None:
    holder = incident.app("update orders set v = 1 where id = 1", application_name="psql")
    incident.app().block("update orders set v = 2 where id = 1")
    assert incident.mitigate(*ALL_RULES, patience=0.5)[0] == []
    assert incident.alive(holder)


def test_h13_with_the_policy_blockers_the_reader_goes_and_the_alter_gets_through(incident: Incident) -> None:
    reading = incident.app("select * from orders")
    altering = incident.app().block("alter table orders add column note text")
    readers = [incident.app(autocommit=True).block("select * from orders where id = 1") for _ in range(3)]
    assert incident.mitigate(*ALL_RULES, queue_policy="none", patience=0.5)[0] == []
    assert incident.alive(reading, altering)
    actions, _ = incident.mitigate(*ALL_RULES, queue_policy="blockers", patience=0.5, most=1)
    assert [(action.victim.pid, action.signal) for action in actions] == [(reading.pid, "terminate")]
    altering.finish()
    altering.run("commit")
    for client in readers:
        client.finish()


def test_the_servers_own_deadlock_timeout_is_the_floor(incident: Incident) -> None:
    """What the role of the agent is notified by the server, in whatever unit it was written."""
    dsn = incident.scene.role("patient", "pg_monitor", "pg_signal_backend")
    incident.scene.admin.execute("alter role patient set deadlock_timeout = '2min'")
    holder = incident.app("update orders set v = 1 where id = 1")
    incident.app().block("update orders set v = 2 where id = 1")
    actions, mitigator = incident.mitigate(*ALL_RULES, dsn=dsn, allow_short_waits=False, patience=0.5)
    assert actions == []
    said = {verdict.guard: verdict.objection for verdict in mitigator.plan.decisions[0].objections}
    assert "10 min 0 s" in str(said["deadlock_timeout"])
    assert incident.alive(holder)


def test_h46_session_that_does_not_end_is_reported_and_not_signalled_again(
    incident: Incident, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A backend that is stopped stands for one that is stuck in the code of an extension."""
    monkeypatch.setattr("pgdoctor.mitigation.plan.VERIFY_SECONDS", 1.5)
    holder = incident.app("update orders set v = 1 where id = 1")
    incident.app().block("update orders set v = 2 where id = 1")
    try:
        os.kill(holder.pid, signal.SIGSTOP)
    except (ProcessLookupError, PermissionError):
        pytest.skip("the server's processes are not ours to stop")
    try:
        began = time.monotonic()
        actions, mitigator = incident.mitigate(*ALL_RULES, patience=0.5)
        assert [(action.signal, action.outcome) for action in actions] == [("terminate", "stuck")]
        assert mitigator.refused["already_tried"] == 1
        assert time.monotonic() - began < 30
    finally:
        os.kill(holder.pid, signal.SIGCONT)
    with pytest.raises(psycopg.Error):
        holder.run("select 1")
