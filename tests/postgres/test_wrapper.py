"""The functions of `pgdoctor setup --wrapper`: who may call them may do no more than they allow, by hand too."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner
from psycopg import errors
from psycopg.conninfo import make_conninfo

from pgdoctor.cli import cli
from pgdoctor.mitigation.marker import leading_comments
from pgdoctor.postgres.connection import Connection
from pgdoctor.postgres.signal import LEADER_KEY
from tests.scenes import Client, Scene

ROLE = "wrapped_agent"

_IDENTITY = """
    select pid, backend_start, xact_start, query_start, state, state_change from pg_stat_activity where pid = %s
"""
_CALL = {
    "cancel": "select accepted from pgdoctor.cancel_session(%s, %s, %s, %s, %s, %s, %s)",
    "terminate": "select accepted from pgdoctor.terminate_session(%s, %s, %s, %s, %s, %s, %s, 1000)",
}
_WAITS = "select max(clock_timestamp() - waitstart) > %s from pg_locks where not granted"


def wrap(scene: Scene, *options: str) -> None:
    """Run what is printed, as an administrator would."""
    printed = CliRunner().invoke(cli, ["setup", "--role", ROLE, "--wrapper", *options], catch_exceptions=False).stdout
    scene._passwords |= {ROLE: "set by the test", "pgdoctor_signaller": ""}
    scene.admin.execute(printed)
    scene.admin.execute(f"alter role {ROLE} password 'set by the test'")


@dataclass
class Wrapped:
    """A database with the functions, and a user at the keyboard who has got hold of the agent's role."""

    scene: Scene
    dsn: str
    by_hand: psycopg.Connection

    def identity(self, client: Client) -> list[Any]:
        [row] = self.scene.admin.execute(_IDENTITY, [client.pid]).fetchall()
        return list(row)

    def call(self, signal: str, victim: list[Any], min_wait: float = 0.0) -> list[bool]:
        """What the function answers: one row where it has signalled."""
        rows = self.by_hand.execute(_CALL[signal], [*victim, min_wait]).fetchall()
        return [accepted for (accepted,) in rows]

    def blocked(self, holder: Client, seconds: float = 0.02) -> Client:
        """`holder`, once a session has waited for it for so long."""
        self.scene.client(user="app", autocommit=True).block("update orders set v = 2 where id = 1")
        wait = timedelta(seconds=seconds)
        self.scene.wait_until(lambda: self.scene.admin.execute(_WAITS, [wait]).fetchone() == (True,))
        return holder

    def holder(self, user: str | None = "app", **options: Any) -> Client:
        """Is idle in its transaction, and a session waits for it."""
        return self.blocked(self.scene.client("update orders set v = 1 where id = 1", user=user, **options))

    def is_usable(self) -> bool:
        async def work() -> bool:
            async with await Connection.open(self.dsn) as door:
                return bool((await door.fetch("wrapper"))[0].is_usable)

        return asyncio.run(work())


@pytest.fixture
def wrapped(scene: Scene) -> Wrapped:
    scene.admin.execute("create table orders (id int primary key, v int)")
    scene.admin.execute("insert into orders values (1, 0)")
    scene.role("app", "all on orders")
    wrap(scene)
    # No test has to wait a second then. The role itself may not set it.
    scene.admin.execute(f"alter role {ROLE} set deadlock_timeout = '10ms'")
    dsn = make_conninfo(scene.dsn, user=ROLE, password="set by the test")
    by_hand = psycopg.connect(dsn, autocommit=True)
    scene.at_the_end(by_hand.close)
    by_hand.execute("select pg_advisory_lock(%s)", [LEADER_KEY])
    return Wrapped(scene, dsn, by_hand)


SIGNALS = ("cancel", "terminate")


def test_a_running_statement_is_cancelled(wrapped: Wrapped) -> None:
    running = wrapped.scene.client("update orders set v = 1 where id = 1", user="app").start("select pg_sleep(30)")
    wrapped.blocked(running)
    assert wrapped.call("cancel", wrapped.identity(running)) == [True]
    with pytest.raises(errors.QueryCanceled):
        running.finish()


def test_an_idle_transaction_is_terminated(wrapped: Wrapped) -> None:
    holder = wrapped.holder()
    assert wrapped.call("terminate", wrapped.identity(holder)) == [True]
    with pytest.raises(psycopg.OperationalError):
        holder.run("select 1")


@pytest.mark.parametrize("signal", SIGNALS)
@pytest.mark.parametrize("part", [1, 2, 3, 5])
def test_one_microsecond_off_is_another_session(wrapped: Wrapped, signal: str, part: int) -> None:
    holder = wrapped.holder()
    victim = wrapped.identity(holder)
    victim[part] += timedelta(microseconds=1)
    assert wrapped.call(signal, victim) == []
    holder.run("commit")


@pytest.mark.parametrize("signal", SIGNALS)
def test_session_that_blocks_none_is_not_signalled(wrapped: Wrapped, signal: str) -> None:
    alone = wrapped.scene.client("update orders set v = 1 where id = 1", user="app")
    assert wrapped.call(signal, wrapped.identity(alone)) == []
    alone.run("commit")


@pytest.mark.parametrize("signal", SIGNALS)
def test_a_wait_below_the_rules_or_the_deadlock_timeout_is_too_short(wrapped: Wrapped, signal: str) -> None:
    holder = wrapped.holder()
    victim = wrapped.identity(holder)
    assert wrapped.call(signal, victim, min_wait=60) == []
    wrapped.scene.admin.execute(f"alter role {ROLE} set deadlock_timeout = '1min'")
    with psycopg.connect(wrapped.dsn, autocommit=True) as again:
        again.execute("select pg_advisory_lock_shared(1)")
        wrapped.by_hand.execute("select pg_advisory_unlock_all()")
        again.execute("select pg_advisory_lock(%s)", [LEADER_KEY])
        assert again.execute(_CALL[signal], [*victim, -1.0]).fetchall() == []
    holder.run("commit")


@pytest.mark.parametrize("signal", SIGNALS)
def test_agent_without_leadership_signals_no_session(wrapped: Wrapped, signal: str) -> None:
    holder = wrapped.holder()
    victim = wrapped.identity(holder)
    wrapped.by_hand.execute("select pg_advisory_unlock_all()")
    assert wrapped.call(signal, victim) == []
    wrapped.by_hand.execute("select pg_advisory_lock(%s, %s)", [LEADER_KEY >> 32, LEADER_KEY & 0x7FFFFFFF])
    assert wrapped.call(signal, victim) == []
    holder.run("commit")


@pytest.mark.parametrize("signal", SIGNALS)
@pytest.mark.parametrize(
    ("user", "options", "said"),
    [
        (None, {}, "a superuser's session"),
        ("shielded", {}, "pgdoctor_protected"),
        ("app", {"application_name": "pg_dump"}, "a backup"),
        ("app", {"application_name": "PGBackRest [backup]"}, "a backup"),
        ("app", {"application_name": "batch pgdoctor:protect"}, "asks for protection"),
    ],
)
def test_protected_kinds_are_refused_by_name(
    wrapped: Wrapped, signal: str, user: str | None, options: dict[str, str], said: str
) -> None:
    if user == "shielded":
        wrapped.scene.admin.execute("create role pgdoctor_protected")
        wrapped.scene._passwords["pgdoctor_protected"] = ""
        wrapped.scene.admin.execute("create role between_them in role pgdoctor_protected")
        wrapped.scene._passwords["between_them"] = ""
        wrapped.scene.role("shielded", "all on orders", "between_them")
    holder = wrapped.holder(user, **options)
    with pytest.raises(errors.InsufficientPrivilege, match=said):
        wrapped.call(signal, wrapped.identity(holder))
    holder.run("commit")


MARK = "pgdoctor:protect"
PROTECTING = (
    f"/* {MARK} */ %s",
    f"\t-- one\n /* two /* {MARK} */ */ %s",
    f"--{MARK}\r%s",
    f"/* ä\\ */ /* {MARK} */ %s",
    "/**/" * 1500 + f"/* {MARK} */ %s",
)
NOT_PROTECTING = (
    f"%s /* {MARK} */",
    f"%s; select '{MARK}'",
    f'%s; select 1 as "{MARK}"',
    f"/* one */ %s; select '/* {MARK} */'",
    f"/* /* */ */ %s -- {MARK}",
)


@pytest.mark.parametrize("text", PROTECTING)
def test_h56_a_comment_in_front_of_a_statement_protects(wrapped: Wrapped, text: str) -> None:
    statement = text % "update orders set v = 1 where id = 1"
    assert MARK in leading_comments(statement)
    holder = wrapped.blocked(wrapped.scene.client(statement, user="app"))
    if len(statement) < 1_000:
        with pytest.raises(errors.InsufficientPrivilege, match="asks for protection"):
            wrapped.call("terminate", wrapped.identity(holder))
    holder.run("commit")


@pytest.mark.parametrize("text", NOT_PROTECTING)
def test_h56_the_marker_elsewhere_protects_no_session(wrapped: Wrapped, text: str) -> None:
    """A literal or an alias that any user of the application may have written."""
    statement = text % "update orders set v = 1 where id = 1"
    assert MARK not in leading_comments(statement)
    holder = wrapped.blocked(wrapped.scene.client(statement, user="app"))
    assert wrapped.call("terminate", wrapped.identity(holder)) == [True]


@pytest.mark.parametrize("signal", SIGNALS)
def test_neither_another_pgdoctor_nor_the_caller_itself_is_signalled(wrapped: Wrapped, signal: str) -> None:
    holder = wrapped.holder(application_name="pgdoctor")
    assert wrapped.call(signal, wrapped.identity(holder)) == []
    holder.run("commit")
    [own] = wrapped.scene.admin.execute(_IDENTITY, [wrapped.by_hand.info.backend_pid]).fetchall()
    assert wrapped.call(signal, list(own)) == []


@pytest.mark.parametrize("signal", SIGNALS)
def test_h7_a_stale_picture_within_a_transaction_signals_no_session(wrapped: Wrapped, signal: str) -> None:
    holder = wrapped.holder()
    by_hand = wrapped.by_hand
    by_hand.execute("begin")
    [seen] = by_hand.execute(_IDENTITY, [holder.pid]).fetchall()
    holder.run("select 1")
    [stale] = by_hand.execute(_IDENTITY, [holder.pid]).fetchall()
    assert stale == seen, "within a transaction the activity is a copy"
    assert wrapped.call(signal, list(seen)) == []
    by_hand.execute("rollback")
    holder.run("commit")


def test_the_role_itself_may_signal_no_session(wrapped: Wrapped) -> None:
    holder = wrapped.holder()
    for statement in ("select pg_cancel_backend(%s)", "select pg_terminate_backend(%s)"):
        with pytest.raises(errors.InsufficientPrivilege):
            wrapped.by_hand.execute(statement, [holder.pid])
    with pytest.raises(errors.InsufficientPrivilege):
        wrapped.by_hand.execute("set role pgdoctor_signaller")
    with pytest.raises(errors.InsufficientPrivilege):
        wrapped.by_hand.execute(
            "select pgdoctor.judged_session(%s, %s, %s, %s, %s, %s, 0, true)", wrapped.identity(holder)
        )
    for inner, more in (("cancel_judged", "0, true"), ("terminate_judged", "0, 0, true")):
        with pytest.raises(errors.InsufficientPrivilege, match=inner):
            wrapped.by_hand.execute(
                f"select * from pgdoctor.{inner}(%s, %s, %s, %s, %s, %s, {more})", wrapped.identity(holder)
            )
    holder.run("commit")


_BY_PERSON = {
    "cancel": "select accepted from pgdoctor.cancel_by_person(%s, %s, %s, %s, %s, %s)",
    "terminate": "select accepted from pgdoctor.terminate_by_person(%s, %s, %s, %s, %s, %s, 1000)",
}


@pytest.mark.parametrize("signal", SIGNALS)
def test_a_person_need_not_lead_but_a_session_has_to_wait(wrapped: Wrapped, signal: str) -> None:
    wrapped.by_hand.execute("select pg_advisory_unlock_all()")
    running = wrapped.scene.client("update orders set v = 1 where id = 1", user="app").start("select pg_sleep(30)")
    victim = wrapped.identity(running)
    assert wrapped.by_hand.execute(_BY_PERSON[signal], victim).fetchall() == []
    wrapped.blocked(running)
    assert wrapped.by_hand.execute(_BY_PERSON[signal], victim).fetchall() == [(True,)]
    with pytest.raises((errors.QueryCanceled, psycopg.OperationalError)):
        running.finish()


@pytest.mark.parametrize("signal", SIGNALS)
def test_a_person_signals_no_protected_session(wrapped: Wrapped, signal: str) -> None:
    wrapped.scene.admin.execute("create role pgdoctor_protected; grant pgdoctor_protected to app")
    wrapped.scene._passwords["pgdoctor_protected"] = ""
    holder = wrapped.holder()
    with pytest.raises(errors.InsufficientPrivilege, match="pgdoctor_protected"):
        wrapped.by_hand.execute(_BY_PERSON[signal], wrapped.identity(holder))
    with pytest.raises(errors.InsufficientPrivilege):
        wrapped.scene.client(user="app").run(_BY_PERSON[signal], wrapped.identity(holder))
    holder.run("commit")


def test_other_roles_may_not_call_them(wrapped: Wrapped) -> None:
    holder = wrapped.holder()
    with pytest.raises(errors.InsufficientPrivilege):
        wrapped.scene.client(user="app").run(_CALL["terminate"], [*wrapped.identity(holder), 0.0])
    holder.run("commit")


_DECOYS = """
    create function {schema}.pg_cancel_backend(int) returns boolean language plpgsql as $$
        begin raise 'the decoy was called'; end $$;
    create function {schema}.pg_terminate_backend(int, bigint) returns boolean language plpgsql as $$
        begin raise 'the decoy was called'; end $$;
    create function {schema}.pg_is_in_recovery() returns boolean language plpgsql as $$
        begin raise 'the decoy was called'; end $$;
    create function {schema}.clock_timestamp() returns timestamptz language plpgsql as $$
        begin raise 'the decoy was called'; end $$;
    create function {schema}.pg_stat_clear_snapshot() returns void language plpgsql as $$
        begin raise 'the decoy was called'; end $$;
    create table {schema}.pg_roles (oid oid, rolname name, rolsuper boolean);
"""


def test_h39_functions_of_the_same_names_are_never_called(wrapped: Wrapped) -> None:
    wrapped.scene.admin.execute(_DECOYS.format(schema="public"))
    wrapped.scene.admin.execute(
        f"grant create on schema public to {ROLE}; grant temp on database {wrapped.scene.admin.info.dbname} to {ROLE}"
    )
    wrapped.by_hand.execute("create temp table pg_roles (oid oid, rolname name, rolsuper boolean)")
    wrapped.by_hand.execute("set search_path = pg_temp, public, pg_catalog")
    superuser = wrapped.holder(None)
    with pytest.raises(errors.InsufficientPrivilege, match="a superuser's session"):
        wrapped.call("terminate", wrapped.identity(superuser))
    superuser.run("rollback")
    holder = wrapped.holder()
    assert wrapped.call("terminate", wrapped.identity(holder)) == [True]


def test_they_are_found_and_both_brakes_hold_at_once(wrapped: Wrapped) -> None:
    assert wrapped.is_usable()
    for brake, release in (
        ("revoke pg_signal_backend from pgdoctor_signaller", "grant pg_signal_backend to pgdoctor_signaller"),
        (f"revoke usage on schema pgdoctor from {ROLE}", f"grant usage on schema pgdoctor to {ROLE}"),
    ):
        wrapped.scene.admin.execute(brake)
        assert not wrapped.is_usable()
        wrapped.scene.admin.execute(release)
        assert wrapped.is_usable()


def test_the_revoke_holds_in_a_session_that_was_open_before(wrapped: Wrapped) -> None:
    holder = wrapped.holder()
    wrapped.scene.admin.execute("revoke pg_signal_backend from pgdoctor_signaller")
    with pytest.raises(errors.InsufficientPrivilege):
        wrapped.call("terminate", wrapped.identity(holder))
    holder.run("commit")


def test_functions_that_another_user_has_put_there_are_not_used(scene: Scene) -> None:
    dsn = scene.role(ROLE, "pg_monitor")
    scene.role("mallory", f"create on database {scene.admin.info.dbname}")
    mallory = scene.client(user="mallory", autocommit=True)
    mallory.run("create schema pgdoctor")
    arguments = "int4, timestamptz, timestamptz, timestamptz, text, timestamptz, float8"
    for signature in (f"cancel_session({arguments})", f"terminate_session({arguments}, int8)"):
        mallory.run(
            f"create function pgdoctor.{signature} returns table (signalled_at timestamptz, accepted bool)"
            " language sql security definer as 'select now(), true'"
        )
    mallory.run(f"grant usage on schema pgdoctor to {ROLE}")
    assert not Wrapped(scene, dsn, scene.admin).is_usable()
    # Nor where that role may signal: it could still change them after the poll.
    scene.admin.execute("grant pg_signal_backend to mallory")
    assert not Wrapped(scene, dsn, scene.admin).is_usable()


def test_a_wait_of_ones_own_making_is_none(wrapped: Wrapped) -> None:
    """Else a thief of the role could end any session: it waits for the session, and calls the function."""
    victim = wrapped.scene.client("select pg_advisory_xact_lock(7)", user="app")
    own = wrapped.scene.client(user=ROLE, autocommit=True).block("select pg_advisory_lock(7)")
    wrapped.scene.wait_until(
        lambda: wrapped.scene.admin.execute(_WAITS, [timedelta(seconds=0.02)]).fetchone() == (True,)
    )
    for signal in SIGNALS:
        assert wrapped.call(signal, wrapped.identity(victim)) == []
    wrapped.scene.client(user="app", autocommit=True).block("select pg_advisory_lock(7)")
    victim.run("select pg_sleep(0.05)")
    assert wrapped.call("terminate", wrapped.identity(victim)) == [True]
    own.finish()


def test_objects_prepared_by_another_role_are_no_way_in(scene: Scene) -> None:
    """A schema of that name, with its rights; or the role that comes to own the functions."""
    scene.role("mallory", f"create on database {scene.admin.info.dbname}")
    mallory = scene.client(user="mallory", autocommit=True)
    mallory.run("create schema pgdoctor")
    with pytest.raises(errors.RaiseException, match="schema pgdoctor belongs to mallory"):
        wrap(scene)
    scene.admin.execute("rollback")
    mallory.run("drop schema pgdoctor")
    scene.admin.execute("create role pgdoctor_signaller; grant pgdoctor_signaller to mallory")
    with pytest.raises(errors.RaiseException, match="mallory is a member of pgdoctor_signaller"):
        wrap(scene)
    scene.admin.execute("rollback")
    scene.admin.execute("revoke pgdoctor_signaller from mallory")
    wrap(scene)


def test_revoked_permission_holds_at_once(wrapped: Wrapped) -> None:
    """It is run for another role, or a user had granted it on."""
    functions = "all functions in schema pgdoctor"
    wrapped.scene.admin.execute(f"grant usage on schema pgdoctor to app; grant execute on {functions} to app")
    wrap(wrapped.scene)
    holder = wrapped.holder()
    with pytest.raises(errors.InsufficientPrivilege):
        wrapped.scene.client(user="app").run(_CALL["terminate"], [*wrapped.identity(holder), 0.0])
    holder.run("commit")


@pytest.mark.parametrize("kinds", [(), ("--stats",)])
def test_default_privileges_permit_no_other_role(scene: Scene, kinds: tuple[str, ...]) -> None:
    """An administrator's usual default privileges are for the application's functions, and not for these."""
    scene.role("app")
    scene.admin.execute("""
        alter default privileges grant all on functions to app with grant option;
        alter default privileges grant all on schemas to app;
    """)
    wrap(scene, *kinds)
    found = scene.admin.execute("""
        select p.proname, a.grantee::regrole::text from pg_proc p, aclexplode(p.proacl) a
        where p.pronamespace = 'pgdoctor'::regnamespace and a.grantee <> p.proowner
    """).fetchall()
    assert {grantee for _, grantee in found} == {ROLE}
    assert {"cancel_by_person", "terminate_session"} < {name for name, _ in found}
    assert scene.admin.execute("select has_schema_privilege('app', 'pgdoctor', 'create')").fetchone() == (False,)


def test_it_may_be_run_twice_and_takes_the_grant_back(wrapped: Wrapped) -> None:
    wrapped.scene.admin.execute(f"grant pg_signal_backend to {ROLE}")
    wrap(wrapped.scene)
    assert wrapped.is_usable()
    may = f"select pg_has_role('{ROLE}', 'pg_signal_backend', 'member')"
    assert wrapped.scene.admin.execute(may).fetchone() == (False,)
    holder = wrapped.holder()
    assert wrapped.call("terminate", wrapped.identity(holder)) == [True]


def test_it_goes_with_the_grant_or_without_not_both() -> None:
    said = CliRunner().invoke(cli, ["setup", "--act", "--wrapper"])
    assert "exclude each other" in str(said.exception)


def test_h72_wait_of_a_stranger_counts_for_nothing(wrapped: Wrapped) -> None:
    """The plain SELECT has its place in the queue before the server looks at privileges."""
    scene = wrapped.scene
    scene.role("stranger")
    scene.admin.execute("alter table orders owner to app")
    owner = scene.client("alter table orders add column note text", user="app")
    stranger = scene.client(user="stranger", autocommit=True).block("select * from orders")
    scene.wait_until(lambda: scene.admin.execute(_WAITS, [timedelta(seconds=0.02)]).fetchone() == (True,))
    for signal in SIGNALS:
        assert wrapped.call(signal, wrapped.identity(owner)) == []
    scene.admin.execute("create role pgdoctor_waiters")
    scene._passwords["pgdoctor_waiters"] = ""
    assert wrapped.call("terminate", wrapped.identity(owner)) == []
    scene.admin.execute("grant pgdoctor_waiters to stranger")
    assert wrapped.call("terminate", wrapped.identity(owner)) == [True]
    with pytest.raises(errors.InsufficientPrivilege):
        stranger.finish()


def test_wait_of_a_reader_with_rights_counts(wrapped: Wrapped) -> None:
    scene = wrapped.scene
    scene.role("reporting", "select on orders")
    scene.admin.execute("alter table orders owner to app")
    owner = scene.client("alter table orders add column note text", user="app")
    reporting = scene.client(user="reporting", autocommit=True).block("select * from orders")
    scene.wait_until(lambda: scene.admin.execute(_WAITS, [timedelta(seconds=0.02)]).fetchone() == (True,))
    assert wrapped.call("terminate", wrapped.identity(owner)) == [True]
    reporting.finish()
