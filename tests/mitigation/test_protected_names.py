"""Protections whose names never fit, or name nothing. H55: a protection fails open, and the session is terminated."""

import asyncio

import psycopg
import pytest
from msgspec.structs import replace
from psycopg import sql
from psycopg.conninfo import make_conninfo

from pgdoctor.config.config import parse_config
from pgdoctor.enforcement.mitigator import Mitigator
from pgdoctor.errors import ConfigError
from pgdoctor.fields import Qualified
from pgdoctor.mitigation.match import Subject
from pgdoctor.mitigation.rules import Mitigation, Protect
from pgdoctor.mitigation.stored_names import find_reason_against
from pgdoctor.postgres.collect import Collector
from pgdoctor.postgres.connection import Connection
from pgdoctor.postgres.server_watch import ServerWatch
from pgdoctor.statement_pattern import StatementPattern
from tests.building import snapshot
from tests.mitigation.build import IDLE as IDLE_PID
from tests.mitigation.build import idle
from tests.mitigation.conftest import IDLE, Incident
from tests.scenes import Scene

REFUSED = {
    'usename = ["app*"]': "usename[0]",
    'datname = ["shop*"]': "datname[0]",
    'member_of = ["ops*"]': "member_of[0]",
    'application_name = ["app*"]': "application_name[0]",
    'application_name = ["Zürich-batch"]': r"application_name\[0\].*Z\\xc3\\xbcrich-batch.*Z\?\?rich-batch",
    f'application_name = ["{"a" * 64}"]': "application_name[0]",
    'application_name = ["a\\tb"]': "application_name[0]",
    f'usename = ["{"a" * 64}"]': "usename[0]",
    f'usename = ["{"ä" * 32}"]': "usename[0]",
    f'datname = ["{"a" * 64}"]': "datname[0]",
    f'relation = ["public.{"a" * 64}"]': "relation[0]",
    f'relation = ["{"a" * 64}.orders"]': "relation[0]",
    'member_of = ["public"]': "PUBLIC is not a role",
    'member_of = ["pg_database_owner"]': "name the owner",
    'client_addr = ["::ffff:10.0.0.0/104"]': "client_addr[0]",
    'client_addr = ["fe80::1%eth0"]': "client_addr[0]",
}
RULE = '[[mitigation.rules]]\nname = "a"\nclass = "long_query"\naction = "cancel"\n'


@pytest.mark.parametrize("table", ["[[mitigation.protect]]\n", RULE], ids=["protection", "rule"])
@pytest.mark.parametrize(("line", "said"), REFUSED.items())
def test_h55_a_name_that_can_never_fit_is_refused(table: str, line: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said if "\\" in said else said.replace("[", r"\[")):
        parse_config(table + line, "x")


@pytest.mark.parametrize("key", ["usename", "application_name", "datname"])
def test_h55_a_rules_own_protected_names_are_refused_too(key: str) -> None:
    with pytest.raises(ConfigError, match=rf"rules\[0\]\.protected_{key}\[0\]"):
        parse_config(f'{RULE}protected_{key} = ["app*"]', "x")


@pytest.mark.parametrize("name", ["Zürich-batch", "a" * 70, "ü" * 40, "a\tb", "a" * 62 + "ü"])
def test_h55_a_refusal_says_how_the_server_stores_a_name(scene: Scene, name: str) -> None:
    connection = psycopg.connect(scene.dsn, application_name=name, client_encoding="utf8")
    with connection:
        [(stored,)] = scene.admin.execute(
            "select application_name from pg_stat_activity where pid = %s", [connection.info.backend_pid]
        ).fetchall()
    connection.close()
    assert f"'{stored}'" in str(find_reason_against("application_name", name))


@pytest.mark.parametrize(
    ("protect", "reason"),
    [
        (Protect(usename=("biling",)), 'mitigation.protect[0].usename "biling": there is no such role'),
        (Protect(usename=("pg_monitor",)), "this role cannot log in"),
        (Protect(member_of=("nobody here",)), "there is no such role"),
        (Protect(datname=("biling",)), "there is no such database"),
        (Protect(relation=(Qualified("public.nowhere"),)), "public.nowhere: there is no such relation in "),
        (Protect(relation=(Qualified("public.elsewhere_pkey"),)), "this is an index; name its table"),
    ],
)
def test_h55_no_session_is_signalled_while_a_protection_names_nothing(
    incident: Incident, protect: Protect, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    holder = incident.app("update orders set v = 1 where id = 1")
    waiter = incident.app().block("update orders set v = 2 where id = 1")
    actions, mitigator = incident.mitigate(IDLE, protect=(protect,), patience=0.5)
    assert actions == []
    assert mitigator.refused["unresolved_protection"] == 1
    assert mitigator.standing.unresolved == 1
    [note] = mitigator.findings
    assert (note.kind, note.severity) == ("unresolved_protection", "warning")
    assert reason in note.evidence[0]
    [line] = [each for each in caplog.records if "protections name" in each.message]
    assert reason in line.unresolved[0]  # type: ignore[attr-defined]
    assert incident.alive(holder)
    actions, mitigator = incident.mitigate(IDLE, protect=(protect,), allow_unresolved_protections=True, patience=0.5)
    assert [action.outcome for action in actions] == ["released"]
    waiter.finish()


def test_h55_a_rules_protected_name_that_means_nothing_stops_it_too(incident: Incident) -> None:
    holder = incident.app("update orders set v = 1 where id = 1")
    incident.app().block("update orders set v = 2 where id = 1")
    rule = replace(IDLE, protected_usename=("biling",))
    actions, mitigator = incident.mitigate(rule, patience=0.5)
    assert actions == []
    assert "rules[0].protected_usename" in mitigator.findings[0].evidence[0]
    assert incident.alive(holder)


def test_h55_names_that_cannot_be_looked_up_may_mean_nothing(incident: Incident) -> None:
    """A session holds a lock on the catalog of roles, from behind the first poll on."""
    holder = incident.app("update orders set v = 1 where id = 1")
    incident.app().block("update orders set v = 2 where id = 1")
    locker = incident.scene.client()
    settings = Mitigation(
        mode="enforce",
        rules=(IDLE,),
        allow_short_waits=True,
        protect_defaults=False,
        protect=(Protect(usename=("agent",)),),
        min_samples=5,
    )
    mitigator = Mitigator(settings)

    async def consider_twice() -> None:
        async with await Connection.open(incident.agent) as door:
            watch = ServerWatch(Collector(door))
            await mitigator.consider(await watch.diagnose_server(), door)
            assert mitigator.findings == ()
            locker.run("lock table pg_authid in access exclusive mode")
            await mitigator.consider(await watch.diagnose_server(), door)

    try:
        asyncio.run(consider_twice())
    finally:
        locker.run("rollback")
    assert "could not be looked up" in mitigator.findings[0].evidence[0]
    assert mitigator.refused["unresolved_protection"] == 1
    assert incident.alive(holder)


def test_h55_a_role_is_protected_by_its_name_of_now(incident: Incident) -> None:
    """The names of all roles are learnt once; this one is renamed behind the first poll."""
    holder = incident.app("update orders set v = 1 where id = 1")
    incident.app().block("update orders set v = 2 where id = 1")
    renamed: list[str] = []

    def rename() -> None:
        if not renamed:
            renamed.append("renamed")
            incident.scene.admin.execute("alter role app rename to app_of_now")

    usual = {"protect": (Protect(usename=("app_of_now",)),), "allow_unresolved_protections": True}
    try:
        actions, mitigator = incident.mitigate(IDLE, **usual, brake=rename, patience=0.5)
    finally:
        incident.scene.admin.execute("alter role app_of_now rename to app")
    assert actions == []
    assert mitigator.refused["protected"] == 1
    assert incident.alive(holder)


PARTS = {
    "partition": "create table parent (id int, v int) partition by list (id); create table part partition of parent "
    "for values in (1)",
    "partition of a partition": "create table parent (id int, v int) partition by list (id); "
    "create table middle partition of parent for values in (1) partition by list (v); "
    "create table part partition of middle default",
    "inheritance child": "create table parent (id int, v int); create table part () inherits (parent)",
}


@pytest.mark.parametrize("created", PARTS.values(), ids=PARTS)
def test_h55_a_part_of_a_protected_table_is_protected(incident: Incident, created: str) -> None:
    admin = incident.scene.admin
    admin.execute(created)
    admin.execute("insert into part values (1, 0); grant all on part to app")
    holder = incident.app("update part set v = 1 where id = 1")
    waiter = incident.app().block("update part set v = 2 where id = 1")
    protect = Protect(relation=(Qualified("public.parent"),))
    actions, mitigator = incident.mitigate(IDLE, protect=(protect,), patience=0.5)
    assert actions == []
    assert mitigator.refused["protected"] == 1
    assert incident.alive(holder)
    protect = Protect(relation=(Qualified("public.elsewhere"),))
    actions, _ = incident.mitigate(IDLE, protect=(protect,), patience=0.5)
    assert [action.outcome for action in actions] == ["released"]
    waiter.finish()


def test_h55_a_table_is_protected_while_its_parents_cannot_be_read(incident: Incident) -> None:
    holder = incident.app("update orders set v = 1 where id = 1")
    waiter = incident.app().block("update orders set v = 2 where id = 1")
    locker = incident.scene.client("lock table pg_inherits in access exclusive mode")
    protect = Protect(relation=(Qualified("public.elsewhere"),))
    actions, mitigator = incident.mitigate(IDLE, protect=(protect,), patience=0.5)
    assert actions == []
    assert mitigator.refused["protected"] == 1
    locker.run("rollback")
    assert incident.alive(holder)
    assert incident.mitigate(IDLE, protect=(protect,), patience=0.5)[0]
    waiter.finish()


@pytest.mark.parametrize("pattern", ["update", "set v", r"(?i)ORDERS"])
def test_h55_a_protected_statement_is_found_anywhere_in_the_text(incident: Incident, pattern: str) -> None:
    holder = incident.app("update orders set v = 1 where id = 1")
    waiter = incident.app().block("update orders set v = 2 where id = 1")
    protect = Protect(statement=(StatementPattern(pattern),))
    assert incident.mitigate(IDLE, protect=(protect,), patience=0.5)[0] == []
    assert incident.alive(holder)
    part = replace(IDLE, usename=("app",), statement=(StatementPattern("update"),))
    assert incident.mitigate(part, patience=0.5)[0] == [], "a rule's pattern has to fit all of it"
    whole = replace(part, statement=(StatementPattern("update .*"),))
    assert [action.outcome for action in incident.mitigate(whole, patience=0.5)[0]] == ["released"]
    waiter.finish()


def test_h55_unreported_attribute_may_be_protected() -> None:
    """With track_activities off the server shows "disabled" for its state, and no statement."""
    seen = snapshot([idle(state="disabled", statement="")])
    subject = Subject(seen.sessions[IDLE_PID], seen)
    for protect in (Protect(statement=(StatementPattern("refresh"),)), Protect(state=("active",))):
        assert "unknown" in str(protect.find_objection(subject))


def test_protected_table_of_another_database_is_resolved_there(incident: Incident) -> None:
    other = incident.scene.database()
    with psycopg.connect(make_conninfo(incident.scene.dsn, dbname=other), autocommit=True) as admin:
        admin.execute('create schema "Books"; create table "Books".ledger (id int primary key, v int)')
    holder = incident.app("update orders set v = 1 where id = 1")
    waiter = incident.app().block("update orders set v = 2 where id = 1")

    def protect(name: str, patience: float = 20.0) -> tuple[list[str | None], tuple[str, ...]]:
        entry = Protect(relation=(Qualified(name),))
        actions, mitigator = incident.mitigate(IDLE, protect=(entry,), patience=patience)
        return [action.outcome for action in actions], tuple(each.evidence[0] for each in mitigator.findings)

    outcomes, evidence = protect('"Books".ledger_pkey', 3.0)
    assert (outcomes, evidence[0].rpartition(": ")[2]) == ([], "this is an index; name its table")
    outcomes, evidence = protect("public.ledger", 3.0)
    assert outcomes == []
    assert "that pgdoctor is connected to, or in " in evidence[0]
    assert incident.alive(holder)
    assert protect('"Books".ledger') == (["released"], ())
    waiter.finish()


def test_protected_table_behind_a_missing_connect_is_unresolved_and_says_why(incident: Incident) -> None:
    other = incident.scene.database()
    with psycopg.connect(make_conninfo(incident.scene.dsn, dbname=other), autocommit=True) as admin:
        admin.execute("create table ledger (id int)")
        admin.execute(sql.SQL("revoke connect on database {} from public").format(sql.Identifier(other)))
    holder = incident.app("update orders set v = 1 where id = 1")
    incident.app().block("update orders set v = 2 where id = 1")
    entry = Protect(relation=(Qualified("public.ledger"),))
    actions, mitigator = incident.mitigate(IDLE, protect=(entry,), patience=3.0)
    assert actions == []
    assert f"not looked into: {other}: our role may not connect to it" in mitigator.findings[0].evidence[0]
    assert incident.alive(holder)
