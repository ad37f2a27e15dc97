"""What `pgdoctor setup` prints makes a role that sees all, and acts only if it is to."""

import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner
from psycopg import errors, sql
from psycopg.conninfo import make_conninfo

from pgdoctor.cli import cli
from pgdoctor.errors import Unreachable
from tests.evil import HOSTILE, Decoys
from tests.looking import look
from tests.scenes import Scene

ROLES = ("setup_watcher", 'Odd "name"; drop', "it's one", "two$$dollars$x$", "user", "{literal}{role}")


def setup(scene: Scene, role: str, *options: str) -> str:
    """Run what is printed, and return the connection string of the role."""
    printed = CliRunner().invoke(cli, ["setup", "--role", role, *options], catch_exceptions=False).stdout
    scene.admin.execute(printed)
    scene._passwords[role] = "set by the test"
    if "--stats" in options:
        scene._passwords["pgdoctor_statistics"] = ""
    scene.admin.execute(sql.SQL("alter role {} password 'set by the test'").format(sql.Identifier(role)))
    return make_conninfo(scene.dsn, user=role, password="set by the test")


@pytest.mark.parametrize("role", ROLES)
def test_the_role_sees_everything_and_may_signal_no_session(scene: Scene, role: str) -> None:
    dsn = setup(scene, role)
    scene.role("app")
    app = scene.client(user="app")
    assert not look(dsn).findings
    with pytest.raises(errors.InsufficientPrivilege):
        scene.client(user=role).run(f"select pg_cancel_backend({app.pid})")


def test_with_act_it_may_signal_ordinary_sessions(scene: Scene) -> None:
    setup(scene, "setup_actor", "--act")
    scene.role("app")
    app = scene.client(user="app").start("select pg_sleep(9)")
    assert scene.client(user="setup_actor").run(f"select pg_cancel_backend({app.pid})") == [(True,)]
    with pytest.raises(errors.QueryCanceled):
        app.finish()


@pytest.mark.parametrize("role", ROLES)
def test_the_functions_are_for_a_role_of_any_name(scene: Scene, role: str) -> None:
    scene._passwords["pgdoctor_signaller"] = ""
    setup(scene, role, "--wrapper")
    may = "select has_function_privilege(%s, oid, 'execute') from pg_proc where proname = 'cancel_session'"
    assert scene.admin.execute(may, [role]).fetchall() == [(True,)]


@pytest.mark.parametrize("role", ["", "two\nlines", "drop\0", "x" * 64])
def test_a_name_that_the_server_would_not_take_as_it_is_is_refused(role: str) -> None:
    done = CliRunner().invoke(cli, ["setup", "--role", role])
    assert (done.exit_code, done.stdout) == (2, "")
    assert "the name of a role has one line" in done.stderr


def test_it_may_be_run_twice(scene: Scene) -> None:
    setup(scene, "setup_watcher")
    setup(scene, "setup_watcher", "--act")


def test_members_of_the_role_are_named(scene: Scene) -> None:
    """Another role may have created it before, to get its rights."""
    said: list[str] = []
    scene.admin.add_notice_handler(lambda notice: said.append(notice.message_primary or ""))
    setup(scene, "setup_watcher")
    scene.role("mallory")
    scene.admin.execute("grant setup_watcher to mallory")
    assert not [each for each in said if "members of the role" in each]
    setup(scene, "setup_watcher", "--act")
    assert [each for each in said if "members of the role" in each] == [
        "members of the role get all its rights, also that to signal: mallory"
    ]


@pytest.mark.since(16)
def test_it_gets_in_when_all_other_connections_are_taken(scene: Scene) -> None:
    setup(scene, "setup_watcher")
    member = "select pg_has_role('setup_watcher', 'pg_use_reserved_connections', 'member')"
    assert scene.admin.execute(member).fetchone() == (True,)


@pytest.mark.parametrize(
    "options", [(), ("--act",), ("--wrapper",), ("--stats",)], ids=["see", "act", "wrapper", "stats"]
)
def test_h52_no_printed_text_calls_a_decoy(
    scene: Scene, decoys: Decoys, bindir: Path, options: tuple[str, ...]
) -> None:
    """A superuser pipes it into psql, in a database whose owner would like to be one."""
    scene.role("mallory")
    scene.admin.execute(f"alter database {scene.admin.info.dbname} owner to mallory".encode())
    owners = {"--wrapper": {"pgdoctor_signaller": ""}, "--stats": {"pgdoctor_statistics": ""}}
    scene._passwords |= {"setup_watcher": ""} | owners.get("".join(options), {})
    settings = {name: value for name, value in HOSTILE.items() if "timeout" not in name and "debug" not in name + value}
    decoys.hand_over(f"database {scene.admin.info.dbname}", settings)
    printed = CliRunner().invoke(cli, ["setup", "--role", "setup_watcher", *options], catch_exceptions=False).stdout
    for more in ((), ("-v", "AUTOCOMMIT=off"), ("-1",)):
        done = subprocess.run(
            [bindir / "psql", "-X", "-v", "ON_ERROR_STOP=1", *more, scene.dsn],
            input=printed,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, decoys.called()) == (0, []), done.stderr
    found = "select rolname from pg_catalog.pg_roles where rolname = 'setup_watcher' and rolconnlimit = 10"
    assert scene.admin.execute(found).fetchall() == [("setup_watcher",)]


def test_h52_each_function_has_a_search_path_of_its_own(scene: Scene) -> None:
    scene._passwords["pgdoctor_signaller"] = ""
    setup(scene, "setup_watcher", "--wrapper", "--stats")
    paths = "select distinct proconfig from pg_proc where pronamespace = 'pgdoctor'::regnamespace"
    assert scene.admin.execute(paths).fetchall() == [(["search_path=pg_catalog, pg_temp"],)]


def test_the_limit_of_the_role_is_distinguished_from_a_full_server(scene: Scene) -> None:
    dsn = setup(scene, "setup_watcher")
    for _ in range(10):
        scene.client(user="setup_watcher")
    with pytest.raises(Unreachable, match="too many connections for role") as refused:
        look(dsn)
    assert refused.value.state == "too_many_connections_for_role"
