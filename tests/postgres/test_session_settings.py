"""Every setting that an owner of a database or a role may hand to our session is pinned, or left with a reason."""

import asyncio
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from pgdoctor.postgres.connection import Connection
from pgdoctor.postgres.conninfo import resolve_target
from pgdoctor.postgres.session_settings import (
    LEFT,
    PINNED,
    PINNED_OTHERWISE,
    SEARCH_PATH,
    timeout_settings,
    transaction_settings,
)
from tests.evil import HOSTILE, Decoys
from tests.scenes import Scene

#: `session_authorization` and `role` are not listed in pg_settings; only a superuser may set the former for another.
_NOT_LISTED = {"role"}


def test_h51_each_setting_of_the_server_is_pinned_or_left_with_a_reason(scene: Scene) -> None:
    """A setting of a later version is missing in the table until a user has thought about it."""
    listed = "select name from pg_settings where context in ('user', 'backend') and name not like 'plpgsql.%'"
    known = {*PINNED, *PINNED_OTHERWISE}.union(*LEFT.values())
    assert {name for (name,) in scene.admin.execute(listed)} - known == set()


def test_no_setting_is_pinned_and_left() -> None:
    names = [*PINNED, *PINNED_OTHERWISE, *(name for names in LEFT.values() for name in names)]
    assert len(names) == len(set(names))


def test_start_up_options_name_only_settings_of_every_version(scene: Scene) -> None:
    """One that a server does not know, or keeps for superusers, would end the connection."""
    listed = "select name from pg_settings where context = 'user'"
    assert {*PINNED, *timeout_settings(1.0)} - {name for (name,) in scene.admin.execute(listed)} == _NOT_LISTED


@pytest.mark.parametrize("form", ["database {database}", "role watcher", "role watcher in database {database}"])
def test_h51_our_settings_hold_over_those_of_database_and_role(scene: Scene, form: str) -> None:
    dsn = scene.role("watcher", "pg_monitor")
    scene.role("mallory", "create on database " + scene.admin.info.dbname)
    scene.admin.execute("grant mallory to watcher")
    whom = form.format(database=scene.admin.info.dbname)
    for name, value in {**HOSTILE, "role": "mallory", "local_preload_libraries": "nothing"}.items():
        scene.admin.execute(f"alter {whom} set {name} = {value}".encode())
    if scene.admin.info.server_version >= 170000:
        scene.admin.execute(f"alter {whom} set transaction_timeout = '1s'".encode())

    async def settings() -> tuple[dict[str, str], str]:
        async with await Connection.open(dsn, 5.0) as door:
            assert not door.is_pooled
            asked = "select name, setting from pg_settings"
            rows = await (await door.connection.execute(asked)).fetchall()
            [(user,)] = await (await door.connection.execute("select current_user::text")).fetchall()
            return dict(rows), user

    found, user = asyncio.run(settings())
    wanted = {**PINNED, **timeout_settings(5.0), "work_mem": "32768"}
    assert {name: found[name] for name in wanted.keys() - _NOT_LISTED} == {
        name: value for name, value in wanted.items() if name not in _NOT_LISTED | {"tcp_user_timeout"}
    } | {"tcp_user_timeout": found["tcp_user_timeout"]}
    assert found.get("transaction_timeout", "0") == "0"
    assert user == "watcher"


def test_options_of_the_dsn_the_service_and_the_environment_stay(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ours come last, and win."""
    monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "services"))
    (tmp_path / "services").write_text("[shop]\noptions=-c geqo_seed=0.5 -c search_path=evil\n")

    async def found(dsn: str) -> tuple[str, ...]:
        async with await Connection.open(dsn, 5.0) as door:
            shown = "select current_setting('geqo_seed'), current_setting('search_path')"
            [row] = await (await door.connection.execute(shown)).fetchall()
            return tuple(row)

    for dsn in (
        make_conninfo(scene.dsn, options="-c geqo_seed=0.5 -c search_path=evil"),
        make_conninfo(scene.dsn, service="shop"),
    ):
        assert asyncio.run(found(dsn)) == ("0.5", SEARCH_PATH)
    monkeypatch.setenv("PGOPTIONS", "-c geqo_seed=0.25 -c search_path=evil")
    assert asyncio.run(found(scene.dsn)) == ("0.25", SEARCH_PATH)
    assert resolve_target({"service": "shop", "options": ""})[1] == ""


def test_a_transaction_has_the_same_settings(scene: Scene) -> None:
    """Behind a pooler; after it the session is as it was."""
    with psycopg.connect(scene.dsn, autocommit=True) as pooled:
        before = dict(pooled.execute("select name, setting from pg_settings").fetchall())
        pooled.execute(f"begin; {transaction_settings(pooled.info.server_version, 5.0)}".encode())
        within = dict(pooled.execute("select name, setting from pg_settings").fetchall())
        pooled.execute("commit")
        after = dict(pooled.execute("select name, setting from pg_settings").fetchall())
    names = {name for name in PINNED if not name.startswith(("tcp_", "local_", "idle_session"))} - _NOT_LISTED
    assert {name: within[name] for name in names} == {
        name: {"work_mem": "32768"}.get(name, PINNED[name]) for name in names
    }
    assert after == before


def test_decoys_are_called_where_nothing_is_pinned(scene: Scene, decoys: Decoys) -> None:
    """Else the tests that none is called would show nothing."""
    operators, functions, aggregates, views, domains = decoys.planted
    assert (operators > 700, functions > 60, aggregates > 3, views > 15, domains > 9) == (True,) * 5, decoys.planted
    decoys.hand_over(f"database {scene.admin.info.dbname}", {"search_path": "evil, pg_catalog"})
    with psycopg.connect(scene.dsn, autocommit=True) as session:
        for statement in (
            "select 1 = 1",
            "select pg_backend_pid()",
            "select max(1)",
            "select from pg_class",
            "select 1::int4",
        ):
            session.execute("select")
            try:
                session.execute(statement.encode())
            except psycopg.Error:
                continue
    said = " ".join(decoys.called())
    for kind in ("operator =", "function pg_backend_pid", "aggregate max", "view pg_class", "domain int4"):
        assert kind in said


def test_a_dsn_that_asks_for_read_write_finds_its_server(scene: Scene) -> None:
    """libpq takes a session that is read-only from the start for one on a standby."""

    async def shown() -> str:
        async with await Connection.open(make_conninfo(scene.dsn, target_session_attrs="read-write"), 5.0) as door:
            [row] = await (await door.connection.execute("show default_transaction_read_only")).fetchall()
            return str(row[0])

    assert asyncio.run(shown()) == "on"
