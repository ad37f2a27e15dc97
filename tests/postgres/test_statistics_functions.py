"""The functions of `pgdoctor setup --stats`: numbers of columns for one role, and no more than that."""

import asyncio

import psycopg
import pytest
from psycopg import errors
from psycopg.conninfo import make_conninfo

from pgdoctor.postgres.connection import Connection
from tests.cli.test_setup import setup
from tests.looking import blocker, snapshot
from tests.scenes import Scene

ROLE = "statistics_reader"

_SHARE = """
    select pgdoctor.value_share(a.attrelid, a.attnum, false, convert_to(%s, 'UTF8'))
    from pg_attribute a where a.attrelid = %s::regclass::oid and a.attname = %s
"""
_NUMBERS = """
    select f.* from pg_attribute a, pgdoctor.column_statistics(a.attrelid, a.attnum, false) f
    where a.attrelid = %s::regclass::oid and a.attname = %s
"""


@pytest.fixture
def dsn(scene: Scene) -> str:
    """The role's connection string, in a database with a table that it may not read."""
    scene.admin.execute("""
        create type mood as enum ('sad', 'glad');
        create table jobs (id int, state text, padded char(9), done bool, kind mood, tag name, v int);
        insert into jobs
            select g, case when g % 100 = 0 then 'ready' else 'done' end, 'x', g % 10 <> 0,
                case when g % 4 = 0 then 'sad' else 'glad' end::mood, 'n', nullif(g % 2, 0)
            from generate_series(1, 10000) g;
        analyze jobs
    """)
    return setup(scene, ROLE, "--stats")


def is_usable(dsn: str) -> bool:
    async def ask() -> bool:
        async with await Connection.open(dsn) as door:
            return bool((await door.fetch("statistics_functions"))[0].is_usable)

    return asyncio.run(ask())


def share(dsn: str, column: str, literal: str, table: str = "jobs") -> float | None:
    with psycopg.connect(dsn, autocommit=True) as by_hand:
        [(found,)] = by_hand.execute(_SHARE, [literal, table, column]).fetchall()
        return found


@pytest.mark.parametrize(
    ("column", "literal", "expected"),
    [
        ("state", "ready", 0.01),
        ("state", "done", 0.99),
        ("state", "READY", 0.0),
        ("state", "x'; drop table jobs --", 0.0),
        ("padded", "x", 1.0),
        ("done", "f", 0.1),
        ("kind", "sad", 0.25),
        ("v", "1", 0.5),
        ("v", "01", 0.0),
        ("id", "17", 0.0001),
    ],
)
def test_share_of_a_value_is_reported(dsn: str, column: str, literal: str, expected: float) -> None:
    assert share(dsn, column, literal) == pytest.approx(expected, abs=0.02)


def test_numbers_of_a_column_are_reported_and_no_value(dsn: str) -> None:
    with psycopg.connect(dsn) as by_hand:
        [(null_share, values, shares)] = by_hand.execute(_NUMBERS, ["jobs", "state"]).fetchall()
        assert (null_share, values) == (0.0, 2.0)
        assert shares == pytest.approx([0.99, 0.01], abs=0.02)
        with pytest.raises(errors.InsufficientPrivilege):
            by_hand.execute("select 1 from pg_catalog.pg_statistic")


def test_other_types_catalogs_and_row_security_are_not_reported(scene: Scene, dsn: str) -> None:
    assert share(dsn, "tag", "n") is None
    assert share(dsn, "relkind", "r", "pg_class") is None
    with psycopg.connect(dsn) as by_hand:
        assert by_hand.execute(_NUMBERS, ["pg_class", "relkind"]).fetchall() == [(None, None, None)]
    scene.admin.execute("alter table jobs enable row level security")
    assert share(dsn, "state", "ready") is None


def test_other_roles_may_not_call_them(scene: Scene, dsn: str) -> None:
    scene.role("app")
    with pytest.raises(errors.InsufficientPrivilege):
        scene.client(user="app").run("select pgdoctor.column_statistics(1, 1::int2, false)")
    scene.admin.execute("grant usage on schema pgdoctor to app")
    for call in ("column_statistics(1, 1::int2, false)", "value_share(1, 1::int2, false, '')"):
        with pytest.raises(errors.InsufficientPrivilege):
            scene.client(user="app").run(f"select pgdoctor.{call}")


def test_objects_of_the_same_names_are_never_called(scene: Scene, dsn: str) -> None:
    scene.admin.execute(f"""
        create function public.textsend(text) returns bytea language plpgsql as 'begin raise ''a decoy''; end';
        create function public.rtrim(text) returns text language plpgsql as 'begin raise ''a decoy''; end';
        create function public.equal(bytea, bytea) returns bool language plpgsql as 'begin raise ''a decoy''; end';
        create operator public.= (leftarg = bytea, rightarg = bytea, function = public.equal);
        create table public.pg_statistic (starelid oid);
        grant temp on database {scene.admin.info.dbname} to {ROLE}; grant create on schema public to {ROLE}
    """)
    with psycopg.connect(dsn, autocommit=True) as by_hand:
        by_hand.execute("create temp table pg_class (oid oid)")
        by_hand.execute("set search_path = pg_temp, public, pg_catalog")
        [(found,)] = by_hand.execute(
            "select pgdoctor.value_share('public.jobs'::pg_catalog.regclass, 2::pg_catalog.int2, false, 'ready')"
        ).fetchall()
    assert found == pytest.approx(0.01, abs=0.02)


def test_output_function_of_users_is_never_called(scene: Scene, dsn: str) -> None:
    """A composite type stands for those: it is written out by the functions of its fields."""
    scene.admin.execute("create type pair as (a int, b int); create table pairs (p pair)")
    scene.admin.execute("insert into pairs select row(g % 3, 1)::pair from generate_series(1, 1000) g; analyze pairs")
    assert share(dsn, "p", "(1,1)", "pairs") is None


def test_functions_of_another_owner_are_not_used(scene: Scene) -> None:
    dsn = scene.role(ROLE, "pg_monitor")
    scene.role("mallory", f"create on database {scene.admin.info.dbname}")
    mallory = scene.client(user="mallory", autocommit=True)
    mallory.run("create schema pgdoctor")
    mallory.run(
        "create function pgdoctor.column_statistics(oid, int2, bool, out a float8, out b float8, out c float4[])"
        " language sql security definer as 'select 0.0::float8, -1.0::float8, null::float4[]'"
    )
    mallory.run(
        "create function pgdoctor.value_share(oid, int2, bool, bytea) returns float8"
        " language sql security definer as 'select 0.0::float8'"
    )
    mallory.run(f"grant usage on schema pgdoctor to {ROLE}")
    assert not is_usable(dsn)


def test_schema_or_role_of_another_is_refused(scene: Scene) -> None:
    scene.role("mallory", f"create on database {scene.admin.info.dbname}")
    mallory = scene.client(user="mallory", autocommit=True)
    mallory.run("create schema pgdoctor")
    with pytest.raises(errors.RaiseException, match="schema pgdoctor belongs to mallory"):
        setup(scene, ROLE, "--stats")
    scene.admin.execute("rollback")
    scene._passwords |= {ROLE: "", "pgdoctor_statistics": ""}
    mallory.run("drop schema pgdoctor")
    scene.admin.execute("create role pgdoctor_statistics; grant pgdoctor_statistics to mallory")
    with pytest.raises(errors.RaiseException, match="mallory is a member of pgdoctor_statistics"):
        setup(scene, ROLE, "--stats")
    scene.admin.execute("rollback")
    scene.admin.execute("revoke pgdoctor_statistics from mallory")
    assert is_usable(setup(scene, ROLE, "--stats"))


def test_setup_may_be_repeated_and_removed_as_it_says(scene: Scene, dsn: str) -> None:
    assert is_usable(setup(scene, ROLE, "--stats"))
    scene.admin.execute("create role former")
    scene._passwords["former"] = ""
    scene.admin.execute("grant execute on all functions in schema pgdoctor to former")
    setup(scene, ROLE, "--stats", "--wrapper")
    scene._passwords["pgdoctor_signaller"] = ""
    may = "select has_function_privilege('former', 'pgdoctor.value_share(oid, int2, bool, bytea)', 'execute')"
    assert scene.admin.execute(may).fetchone() == (False,)
    scene.admin.execute(
        "drop function pgdoctor.column_statistics(oid, int2, bool), pgdoctor.value_share(oid, int2, bool, bytea);"
        "drop owned by pgdoctor_statistics; drop role pgdoctor_statistics"
    )
    del scene._passwords["pgdoctor_statistics"]
    assert not is_usable(dsn)


def test_role_with_them_sees_what_a_superuser_sees(scene: Scene, dsn: str) -> None:
    scene.admin.execute(
        "insert into jobs select g, 'done' from generate_series(1, 20000) g; analyze jobs;"
        "create function slow(int) returns int language plpgsql as 'begin perform pg_sleep(30); return $1; end'"
    )
    rare = scene.client().start("update jobs set v = slow(id) where state = 'ready'")
    often = scene.client().start("select slow(id) from jobs where state = 'done'")
    scene.wait_until(lambda: "PgSleep" in often.shown() and "PgSleep" in rare.shown())
    scene.client().block("alter table jobs add column c int")
    for who in (scene.dsn, dsn):
        assert blocker(who, rare.pid).classification == "unindexed_scan"
        assert blocker(who, often.pid).classification == "long_query"
    told = {
        pid: [(each.column, round(each.share, 2)) for each in found]
        for pid, found in snapshot(dsn).value_shares.items()
    }
    assert told == {rare.pid: [("state", 0.0)], often.pid: [("state", 1.0)]}
    scene.admin.execute(f"revoke usage on schema pgdoctor from {ROLE}")
    assert blocker(dsn, rare.pid).classification == "long_query"
    assert make_conninfo(dsn)
