"""Whose waits count: a session is not ended for a user without rights to the requested object."""

import asyncio
import json
import time
from pathlib import Path

import pytest
from psycopg import errors

from pgdoctor.enforcement.waiter_rights import find_uncounted
from pgdoctor.fields import Duration
from pgdoctor.journal.keeper import Keeper
from pgdoctor.mitigation.circumstances import AgentState
from pgdoctor.mitigation.rule_validation import find_mistakes
from pgdoctor.postgres.connection import Connection
from pgdoctor.postgres.signal import send_signal
from tests.building import lock
from tests.leading import take_the_lead
from tests.mitigation.build import DDL, END_IDLE, about, ddl, decide, idle, reader, reasons, settings
from tests.mitigation.build import rule as made_rule
from tests.mitigation.conftest import IDLE, Incident, rule
from tests.scenes import Client

ALTER = "alter table orders add column note text"
PRIVILEGE = "it has no privilege on the object of its wait"


def ask(dsn: str, *waiters: Client) -> list[str | None]:
    """Why the wait of each does not count."""

    async def work() -> dict[int, str]:
        async with await Connection.open(dsn) as door:
            return await find_uncounted(door, {each.pid for each in waiters})

    found = asyncio.run(work())
    return [found.get(each.pid) for each in waiters]


@pytest.mark.parametrize("statement", ["table orders", "update orders set v = 1", "comment on table orders is ''"])
def test_h71_stranger_makes_no_victim(incident: Incident, statement: str) -> None:
    """The server takes the lock before it looks at privileges: a stranger had the owner's session ended."""
    incident.scene.role("stranger")
    owner = incident.app(ALTER)
    stranger = incident.scene.client(user="stranger", autocommit=True).block(statement)
    actions, mitigator = incident.mitigate(IDLE, min_samples=1, patience=1)
    assert actions == []
    [decision] = mitigator.plan.decisions
    [said] = [each.objection for each in decision.objections if each.guard == "min_blocked"]
    assert f"{stranger.pid} (stranger): {PRIVILEGE}" in str(said)
    owner.run("commit")
    with pytest.raises(errors.InsufficientPrivilege):
        stranger.finish()


def test_h71_privileged_waiter_counts_and_is_named_in_the_audit(incident: Incident, tmp_path: Path) -> None:
    scene = incident.scene
    scene.role("stranger")
    scene.role("reporting", "select on orders")
    owner = incident.app(ALTER)
    stranger = scene.client(user="stranger", autocommit=True).block("select * from orders")
    reporting = scene.client(user="reporting", autocommit=True).block("select * from orders")
    keeper = Keeper(tmp_path / "journal.db")
    actions, _ = incident.mitigate(IDLE, min_samples=1, patience=5, journal=keeper)
    keeper.close()
    assert [(each.victim.pid, each.outcome) for each in actions] == [(owner.pid, "released")]
    reporting.finish()
    with pytest.raises(errors.InsufficientPrivilege):
        stranger.finish()
    text = _audit(tmp_path)
    assert text["waiting_users"] == ["reporting"]
    [verdict] = [each for each in text["verdicts"] if each["guard"] == "min_blocked"]
    assert f"frees 1 of at least 1; {stranger.pid} (stranger): {PRIVILEGE}" == verdict["value"]


def _audit(tmp_path: Path) -> dict:  # type: ignore[type-arg]
    from tests.forked import pgdoctor

    (tmp_path / "p.toml").write_text(f'[journal]\npath = "{tmp_path}/journal.db"\n')
    plain = pgdoctor("mitigate", "audit", "--config", str(tmp_path / "p.toml")).stdout
    assert "to free 2 for reporting" in " ".join(plain.split()), plain
    lines = pgdoctor("mitigate", "audit", "--format", "json", "--config", str(tmp_path / "p.toml")).stdout.splitlines()
    return json.loads(lines[0])  # type: ignore[no-any-return]


# Every way to a privilege: what is granted to `somebody`, and what it runs.
SELECT = "select * from orders"
ENTITLED: dict[str, tuple[str, str]] = {
    "table": ("grant select on orders to somebody", SELECT),
    "column": ("grant select (id) on orders to somebody", "select id from orders"),
    "another privilege": ("grant insert on orders to somebody", SELECT),
    "public": ("grant select on orders to public", SELECT),
    "member": ("create role team; grant select on orders to team; grant team to somebody", SELECT),
    "set role": (
        "create role team; grant select on orders to team; alter role somebody noinherit; grant team to somebody",
        "set role team; select * from orders",
    ),
    "member of the owner": ("grant app to somebody", "alter table orders add column more text"),
    "owner of the schema": ("create role boss; grant boss to somebody; alter schema public owner to boss", SELECT),
    "pg_read_all_data": ("grant pg_read_all_data to somebody", SELECT),
    "pg_write_all_data": ("grant pg_write_all_data to somebody", "delete from orders"),
    "superuser": ("alter role somebody superuser", SELECT),
    "view": (
        "set role app; create view v as select * from orders; grant select on v to somebody; reset role",
        "table v",
    ),
    "view of a view": (
        "set role app; create view v as select * from orders; create view w as table v;"
        " grant select on w to somebody; reset role",
        "table w",
    ),
    "writable view": (
        "set role app; create view v as select * from orders; grant update on v to somebody; reset role",
        "update v set v = 1",
    ),
    "write": ("grant delete on orders to somebody", "delete from orders where false"),
    "foreign key": (
        "create table child (id int references orders); grant insert on child to somebody",
        "insert into child values (1)",
    ),
    "sequence": (
        "set role app; create sequence q owned by orders.v; reset role; grant insert on orders to somebody",
        "select * from orders",
    ),
}

#: The same without a privilege that is enough.
STRANGER: dict[str, tuple[str, str]] = {
    "nothing": ("select 1", SELECT),
    "read for a write": ("grant select on orders to somebody", "update orders set v = 1"),
    "another table": ("grant all on elsewhere to somebody", SELECT),
    "a view of one's own": (
        "grant create on schema public to somebody;"
        " set role somebody; create view v as select * from orders; reset role",
        "table v",
    ),
    "a view of one's own upon another's": (
        "grant create on schema public to somebody; set role app; create view v as select * from orders;"
        " set role somebody; create view w as table v; reset role",
        "table w",
    ),
    "the other end of a foreign key by reading": (
        "create table child (id int references orders); grant select on child to somebody",
        SELECT,
    ),
    "a write at the other end of a foreign key that one may only read": (
        "create table child (id int references orders); grant select on child to somebody",
        "delete from orders",
    ),
    "object": ("select 1", "drop schema held"),
}


def _stage(incident: Incident, grants: str, statement: str) -> Client:
    admin = incident.scene.admin
    incident.scene.role("somebody")
    for role in ("team", "boss"):
        if f"create role {role}" in grants:
            incident.scene._passwords[role] = ""
    admin.execute("create schema held")
    admin.execute(grants)
    if "create role boss" in grants:
        incident.scene.at_the_end(lambda: admin.closed or admin.execute("alter schema public owner to current_user"))
    incident.app(ALTER)
    incident.scene.client("comment on schema held is 'x'")
    *before, last = statement.split("; ")
    return incident.scene.client(*before, user="somebody", autocommit=True).block(last)


@pytest.mark.parametrize("name", ENTITLED)
def test_every_way_to_a_privilege_counts(incident: Incident, name: str) -> None:
    waiter = _stage(incident, *ENTITLED[name])
    assert ask(incident.agent, waiter) == [None]


@pytest.mark.parametrize("name", STRANGER)
def test_unknown_privilege_does_not_count(incident: Incident, name: str) -> None:
    waiter = _stage(incident, *STRANGER[name])
    [said] = ask(incident.agent, waiter)
    assert said == ("its privilege on the object of its wait is unknown" if name == "object" else PRIVILEGE)


def test_privilege_on_the_parent_counts_on_its_partition(incident: Incident) -> None:
    scene = incident.scene
    scene.role("somebody")
    scene.role("stranger")
    scene.admin.execute(
        "create table whole (id int) partition by range (id);"
        "create table part partition of whole for values from (0) to (10);"
        "create table older (id int); create table newer () inherits (older); grant select on whole, older to somebody"
    )
    scene.client("lock table part, newer in access exclusive mode")
    waiters = [
        scene.client(user=user, autocommit=True).block(f"select * from {table}")
        for user in ("somebody", "stranger")
        for table in ("part", "newer")
    ]
    assert ask(incident.agent, *waiters) == [None, None, PRIVILEGE, PRIVILEGE]


@pytest.mark.since(15)
def test_view_that_asks_as_its_reader_gives_nothing(incident: Incident) -> None:
    grants = (
        "set role app; create view v with (security_invoker = on) as select * from orders;"
        " grant select on v to somebody; reset role"
    )
    assert ask(incident.agent, _stage(incident, grants, "table v")) == [PRIVILEGE]


def test_waits_for_rows_and_catalogs_count(incident: Incident) -> None:
    scene = incident.scene
    scene.role("stranger")
    incident.app("update orders set v = 1 where id = 1")
    row = incident.app(autocommit=True).block("update orders set v = 2 where id = 1")
    scene.client("lock table pg_description")
    catalog = scene.client(user="stranger", autocommit=True).block("select * from pg_description")
    assert ask(incident.agent, row, catalog) == [None, None]


def test_wait_for_an_advisory_lock_counts_of_its_users_alone(incident: Incident) -> None:
    """The server asks for no privilege: a stranger had the session of an application ended."""
    scene = incident.scene
    scene.role("stranger")
    scene.role("worker")
    scene.admin.execute("grant app to worker")
    holder = incident.app("select pg_advisory_xact_lock(7)")
    waiting = "select pg_advisory_xact_lock(7)"
    stranger = scene.client(user="stranger", autocommit=True).block(waiting)
    actions, mitigator = incident.mitigate(IDLE, min_samples=1, patience=1)
    assert actions == []
    assert mitigator.refused["min_blocked"] == 1
    worker = scene.client(user="worker", autocommit=True).block(waiting)
    own = incident.app(autocommit=True).block(waiting)
    said, *counted = ask(incident.agent, stranger, worker, own)
    assert "another user holds it" in str(said)
    assert counted == [None, None]
    # The same number as two halves is another lock.
    scene.client("select pg_advisory_lock(0, 8)", user="stranger")
    other = scene.client(user="app", autocommit=True).block("select pg_advisory_lock(0, 8)")
    assert "another user holds it" in str(ask(incident.agent, other)[0])
    holder.run("rollback")


def test_strangers_behind_a_waiter_make_no_number(incident: Incident) -> None:
    """A rule asks for three released sessions: one waits, and strangers queue behind what it holds."""
    scene = incident.scene
    scene.role("stranger")
    owner = incident.app("update orders set v = 1 where id = 1")
    incident.app("select pg_advisory_xact_lock(7)").block("update orders set v = 2 where id = 1")
    strangers = [
        scene.client(user="stranger", autocommit=True).block("select pg_advisory_lock_shared(7)") for _ in range(2)
    ]
    three = rule("idle", "idle_in_transaction", "terminate", min_blocked=3)
    actions, mitigator = incident.mitigate(three, min_samples=1, patience=1)
    assert actions == []
    assert mitigator.refused["min_blocked"] == 1
    for each in strangers:
        each.close()
    for _ in range(2):
        incident.app(autocommit=True).block("select pg_advisory_lock_shared(7)")
    actions, _ = incident.mitigate(three, min_samples=1, patience=5)
    assert [each.victim.pid for each in actions] == [owner.pid]


def test_shared_holder_of_an_advisory_lock_counts_for_no_other_holder(incident: Incident) -> None:
    """A stranger holds it, too: its waits for itself and the application would have the application ended."""
    scene = incident.scene
    scene.role("stranger")
    scene.client("select pg_advisory_lock_shared(7)", user="stranger")
    incident.app("select pg_advisory_xact_lock_shared(7)")
    waiter = scene.client(user="stranger", autocommit=True).block("select pg_advisory_lock(7)")
    assert "another user holds it" in str(ask(incident.agent, waiter)[0])


def test_wait_for_the_end_of_a_transaction_does_not_count(incident: Incident) -> None:
    """CREATE INDEX CONCURRENTLY on a table of one's own waits for each transaction, and would count as a long wait."""
    scene = incident.scene
    stranger = scene.role("stranger", f"create on database {scene.admin.info.dbname}")
    assert stranger
    scene.client("create schema own; create table own.t (id int)", user="stranger", autocommit=True)
    holder = incident.app("set transaction isolation level repeatable read", "update orders set v = 1 where id = 1")
    builder = scene.client(user="stranger", autocommit=True).block("create index concurrently on own.t (id)")
    row = incident.app(autocommit=True).block("update orders set v = 2 where id = 1")
    said, counted = ask(incident.agent, builder, row)
    assert said == "any user can wait for the end of a transaction"
    assert counted is None
    holder.run("rollback")


def test_wait_in_another_database_does_not_count(incident: Incident) -> None:
    other = incident.scene.database()
    incident.scene.client("create table t (id int)", dbname=other, autocommit=True)
    incident.scene.admin.execute(f"grant all on database {other} to public")
    incident.scene.client("lock table t", dbname=other)
    app = incident.scene.client(user="app", dbname=other, autocommit=True).block("select * from t")
    boss = incident.scene.client(dbname=other, autocommit=True).block("select * from t")
    [said, none] = ask(incident.agent, app, boss)
    assert "another database" in str(said)
    assert none is None


@pytest.mark.parametrize("catalog", ["orders", "pg_class", "pg_attribute", "pg_auth_members", "pg_authid", "pg_depend"])
def test_look_up_waits_for_no_lock_on_the_table_and_half_a_second_for_a_catalog(
    incident: Incident, catalog: str
) -> None:
    """Where a catalog is locked the wait does not count: doubt means no action. Memberships the server has cached."""
    scene = incident.scene
    scene.role("reporting", "select on orders")
    incident.app(ALTER)
    waiter = scene.client(user="reporting", autocommit=True).block("select * from orders")
    holder = scene.client()

    async def work() -> tuple[dict[int, str], float]:
        async with await Connection.open(incident.agent, 60.0) as door:
            await find_uncounted(door, {waiter.pid})
            if catalog != "orders":
                holder.run(f"lock table {catalog}")
            began = time.monotonic()
            return await find_uncounted(door, {waiter.pid}), time.monotonic() - began

    found, seconds = asyncio.run(work())
    holder.run("rollback")
    if catalog in ("orders", "pg_auth_members"):
        assert found == {}
    else:
        assert found.get(waiter.pid, "").startswith("its privilege on the object of its wait could not be read")
    assert seconds < 30


def test_rule_that_names_its_waiters_counts_them_and_no_others(incident: Incident) -> None:
    """The author of the rule has decided: the privilege is not asked for, as of one who comes by a function."""
    scene = incident.scene
    scene.role("stranger")
    owner = incident.app(ALTER)
    scene.client(user="stranger", autocommit=True).block("select * from orders")
    others = rule("idle", "idle_in_transaction", "terminate", waiter_usename=("batch",))
    actions, mitigator = incident.mitigate(others, min_samples=1, patience=1)
    assert actions == []
    assert mitigator.refused["min_blocked"] == 1
    theirs = rule("idle", "idle_in_transaction", "terminate", waiter_member_of=("stranger",))
    actions, _ = incident.mitigate(theirs, min_samples=1, patience=5)
    assert [(each.victim.pid, each.outcome) for each in actions] == [(owner.pid, "released")]


def test_signal_needs_a_wait_of_a_counted_user(incident: Incident) -> None:
    """Between the poll and the signal the one who counts has gone, and a stranger waits on."""
    owner = incident.app("update orders set v = 1 where id = 1")
    first = incident.app(autocommit=True).block("update orders set v = 2 where id = 1")
    second = incident.app(autocommit=True)
    from pgdoctor.model.identity import Identity
    from tests.looking import snapshot

    victim = Identity.of(snapshot(incident.agent).sessions[owner.pid])
    assert victim is not None

    async def work(pids: list[int]) -> str:
        async with await Connection.open(incident.agent) as door:
            await take_the_lead(door)
            return (await send_signal(door, "terminate", victim, min_wait=0, waiting_pids=pids)).answer

    assert asyncio.run(work([second.pid])) == "gone"
    assert incident.alive(owner)
    assert asyncio.run(work([second.pid, first.pid])) == "sent"
    first.finish()


# Without a server


def test_thresholds_use_counted_waiters() -> None:
    old = reader(31, blockers=(10,), seconds=600.0, usename="stranger")
    young = reader(32, blockers=(10,), seconds=20.0)
    holder = idle(locks=(lock(10, "AccessExclusiveLock", granted=True),))
    amid = AgentState(uncounted={31: PRIVILEGE})

    def judge(**terms: object) -> set[str]:
        by = settings(made_rule("idle", ("idle_in_transaction", "explicit_lock", "migration"), "terminate", **terms))
        return reasons(about(decide(holder, old, young, by=by, amid=amid), 10))

    assert judge() == set()
    assert judge(min_blocked=2) == {"min_blocked"}
    assert judge(min_wait=Duration(60)) == {"min_wait"}
    assert judge(min_blocked_share=0.15) == {"min_blocked_share"}
    assert judge(min_wait=Duration(60), waiter_usename=("stranger",)) == set()
    assert judge(waiter_usename=("nobody",)) >= {"min_blocked"}
    assert judge(waiter_member_of=("app",), waiter_usename=("stranger",)) == set()


def test_decision_names_the_users_and_pids_that_decide() -> None:
    made = decide(by=settings(END_IDLE), amid=AgentState(uncounted={DDL: PRIVILEGE}))
    decision = about(made, 10)
    assert (decision.waiting_users, decision.waiting_pids) == ((), ())
    made = decide(idle(), ddl(usename="deploy"), by=settings(END_IDLE))
    assert (about(made, 10).waiting_users, about(made, 10).waiting_pids) == (("deploy",), (DDL,))


def test_empty_list_of_waiters_is_refused() -> None:
    for key in ("waiter_usename", "waiter_member_of"):
        wrong = settings(made_rule("idle", "idle_in_transaction", "terminate", **{key: ()}))
        assert [each.key for each in find_mistakes(wrong, Duration(1))] == [f"rules[0].{key}"]


def test_rule_for_some_waiters_hides_no_rule_for_others() -> None:
    some = made_rule("some", "idle_in_transaction", "terminate", waiter_usename=("app",))
    everybody = made_rule("all", "idle_in_transaction", "terminate")
    assert list(find_mistakes(settings(some, everybody), Duration(1))) == []
    assert [each.key for each in find_mistakes(settings(everybody, some), Duration(1))] == ["rules[1]"]
