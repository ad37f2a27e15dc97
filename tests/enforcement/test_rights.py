"""Sessions that our role may not signal are known beforehand: nothing is tried, and people read who may."""

import asyncio
import re

import pytest
from psycopg import errors

from pgdoctor.diagnosis.manual_signal import MOVED_ON, write_signal_sql
from pgdoctor.mitigation.circumstances import AgentState
from pgdoctor.mitigation.plan import Plan
from pgdoctor.model.snapshot import Snapshot
from pgdoctor.postgres.collect import Collector
from pgdoctor.postgres.connection import Connection
from pgdoctor.render.table import render_table
from pgdoctor.render.tree import render_tree
from tests.forked import pgdoctor
from tests.looking import look, snapshot
from tests.mitigation.build import IDLE as IDLE_PID
from tests.mitigation.build import about, decide, reasons
from tests.mitigation.conftest import IDLE, Incident
from tests.mitigation.test_guards import holder, writer
from tests.scenes import Client


def block(incident: Incident, user: str | None, *more: str) -> tuple[Client, Client]:
    """A session of that user that is idle in its transaction, and one of the application that waits for it."""
    blocking = incident.scene.client("update orders set v = 1 where id = 1", *more, user=user)
    waiting = incident.app(autocommit=True).block("update orders set v = 2 where id = 1")
    return blocking, waiting


@pytest.mark.parametrize("mode", ["enforce", "dry_run"])
def test_h70_superuser_session_is_not_tried(incident: Incident, mode: str) -> None:
    """Two refusals in a row switched mitigation off everywhere; a dry run said it would act."""
    blocking, _ = block(incident, None)
    actions, mitigator = incident.mitigate(IDLE, min_samples=1, mode=mode)
    assert actions == []
    [decision] = [each for each in mitigator.plan.decisions if each.pid == blocking.pid]
    [objection] = [each for each in decision.objections if each.guard == "not_permitted"]
    assert "superuser's session; run as a superuser: SELECT" in str(objection.objection)
    assert mitigator.refused["not_permitted"] == 1
    assert mitigator.history.actions == ()
    assert mitigator.history.opening is None
    assert not decision.may_come, "the request behind it is not to wait for it"
    blocking.run("commit")


def test_h70_refused_sessions_do_not_stop_the_others(incident: Incident) -> None:
    """Three superusers, of two names, are in front; the ordinary session is ended all the same."""
    incident.scene.role("boss")
    incident.scene.admin.execute("alter role boss superuser")
    incident.scene.admin.execute("create table t as select generate_series(1, 9) as id; grant all on t to app")
    for place, user in enumerate((None, "boss", "boss"), start=1):
        incident.scene.client(f"delete from t where id = {place}", user=user)
        incident.app(autocommit=True).block(f"delete from t where id = {place}")
    blocking, waiting = block(incident, "app")
    actions, _ = incident.mitigate(IDLE, min_samples=1, patience=5)
    assert [(each.victim.pid, each.outcome) for each in actions] == [(blocking.pid, "released")]
    waiting.finish()


_EVIL = """
    create schema evil;
    create function evil.eq(int, int) returns bool language plpgsql as $$ begin raise 'a decoy was called'; end $$;
    create operator evil.= (leftarg = int, rightarg = int, function = evil.eq);
    set search_path = evil, pg_catalog;
"""


def test_statement_by_hand_hits_that_session_only(incident: Incident) -> None:
    blocking, waiting = block(incident, None)
    incident.scene.admin.execute(_EVIL)
    [found] = [each for each in look(incident.agent).blockers if each.pid == blocking.pid]
    assert (found.may_signal, found.recommendation.action) == (False, "terminate")
    text = found.recommendation.sql
    assert text is not None
    later = re.sub(r"(\.\d{5})(\d)", lambda digit: digit[1] + str((int(digit[2]) + 1) % 10), text)
    assert incident.scene.admin.execute(later).fetchall() == [(MOVED_ON,)]  # type: ignore[arg-type]
    assert incident.scene.admin.execute(text).fetchall() == [(f"signalled: terminate {blocking.pid}",)]  # type: ignore[arg-type]
    waiting.finish()


def test_question_names_the_roles_that_may_signal(incident: Incident) -> None:
    blocking, _ = block(incident, None)
    report = look(incident.agent)
    drawn = render_tree(report)
    said = "our role may not signal this superuser's session"
    [found] = report.blockers
    assert f"{blocking.pid}: {said}; run as a superuser: {found.recommendation.sql}" in " ".join(drawn.split())
    assert f"│    {said}" in drawn
    assert said in " ".join(render_table(report).split())
    incident.scene.wait_until(
        lambda: "superuser's session" in " ".join(pgdoctor("triage", "--dsn", incident.agent).stdout.split()), 40
    )
    asked = pgdoctor("mitigate", "--dsn", incident.agent).stdout
    assert "By hand" in asked
    assert "superuser's session" in " ".join(asked.split())
    blocking.run("commit")


def test_may_signal_is_what_the_server_answers(incident: Incident) -> None:
    """Every way to the right, and to none, beside what the server does when it is asked."""
    scene, admin = incident.scene, incident.scene.admin
    roles = {
        "plain": scene.role("plain", "pg_monitor"),
        "member": scene.role("member", "pg_monitor", "app"),
        "signaller": scene.role("signaller", "pg_monitor", "pg_signal_backend"),
        "noinherit": scene.role("noinherit", "pg_monitor"),
        "boss": scene.role("boss"),
    }
    # To which the privileges of `app` are open only after SET ROLE.
    admin.execute("alter role noinherit noinherit; grant app to noinherit")
    admin.execute("alter role boss superuser; grant all on orders to boss")
    found = {}
    for user in ("app", "boss"):
        blocking = scene.client("update orders set v = 1 where id = 1", user=user)
        scene.client(autocommit=True).block("update orders set v = 2 where id = 1")
        for name, dsn in roles.items():
            told = snapshot(dsn).sessions[blocking.pid].may_signal
            # To an idle session a cancel does nothing.
            try:
                scene.client(user=name, autocommit=True).run("select pg_cancel_backend(%s)", [blocking.pid])
            except errors.InsufficientPrivilege:
                assert told is False, (name, user)
            else:
                assert told is True, (name, user)
            found[name, user] = told
        blocking.run("rollback")
    assert [key for key, may in found.items() if may] == [
        ("member", "app"),
        ("signaller", "app"),
        ("boss", "app"),
        ("boss", "boss"),
    ]


def test_locked_role_catalog_leaves_it_unknown_and_no_session_is_signalled(incident: Incident) -> None:
    """The answer comes within the lock_timeout, and doubt is an objection."""
    blocking, _ = block(incident, "app")
    catalog = incident.scene.client()

    async def work() -> Snapshot:
        async with await Connection.open(incident.agent) as door:
            collector = Collector(door)
            await collector.fetch_snapshot(even_if_quiet=True)
            catalog.run("lock table pg_authid")
            return await collector.fetch_snapshot(even_if_quiet=True)

    seen = asyncio.run(work())
    assert seen.sessions[blocking.pid].may_signal is None
    assert any(each.startswith("signal rights") for each in seen.unread)
    catalog.run("rollback")
    assert reasons(about(_judge(None), IDLE_PID)) == {"not_permitted"}
    assert reasons(about(_judge(True), IDLE_PID)) == set()
    blocking.run("commit")


def _judge(may_signal: bool | None) -> Plan:
    return decide(holder(may_signal=may_signal), writer(), amid=AgentState(may_signal=True))


def test_wrapper_refusals_are_known_beforehand() -> None:
    amid = AgentState(may_signal=True, has_wrapper=True)
    for facts in (
        {"application_name": "x pgdoctor:protect"},
        {"roles": frozenset({"app", "pgdoctor_protected"})},
    ):
        made = decide(holder(may_signal=True, **facts), writer(), amid=amid)
        assert "not_permitted" in reasons(about(made, IDLE_PID)), facts
    made = decide(holder(may_signal=True), writer(), amid=amid)
    assert made.approved is not None


def test_cancel_by_hand_is_bound_to_the_statement() -> None:
    text = write_signal_sql("cancel", holder())
    assert text is not None
    assert "a.query_start OPERATOR(pg_catalog.=) '2026-" in text
    assert write_signal_sql("none", holder()) is None
    assert write_signal_sql("cancel", holder(backend_start=None)) is None
