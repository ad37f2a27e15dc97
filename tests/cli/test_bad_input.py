"""Whatever is wrong: one clear line, the right exit status, no traceback, no password."""

import contextlib
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from pgdoctor.cli import main
from pgdoctor.demo.throwaway_server import ThrowawayServer
from tests.forked import pgdoctor
from tests.scenes import Scene

SECRET = "hunter2-of-the-test"


def complains(result: subprocess.CompletedProcess[str], status: int, *words: str) -> None:
    """One line on stderr with the words, nothing on stdout, this exit status."""
    assert result.returncode == status, result
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1, result.stderr
    assert "Traceback" not in result.stderr
    assert SECRET not in result.stderr
    for word in words:
        assert word in result.stderr


COMMANDS = (("diagnose",), ("locks",), ("diagnose", "--format", "json"))


@pytest.mark.parametrize("command", COMMANDS)
def test_no_server(command: tuple[str, ...]) -> None:
    complains(pgdoctor(*command, "--dsn", f"postgresql://app:{SECRET}@127.0.0.1:1/shop"), 3, "refused")


def test_no_such_host() -> None:
    complains(pgdoctor("diagnose", "--dsn", f"postgresql://app:{SECRET}@nowhere.invalid/shop"), 3)


@pytest.mark.parametrize(
    "dsn",
    [
        f"postgresql://app:{SECRET}",
        f"postgresql://app:p@{SECRET}@127.0.0.1/shop",
        f"postgresql://app:{SECRET}/x@127.0.0.1/shop",
        f"postgresql://app@127.0.0.1/shop?passwort={SECRET}",
        f"host=127.0.0.1 password=my {SECRET}",
        f"postgresql://[{SECRET}",
        SECRET,
    ],
)
def test_a_dsn_that_does_not_parse_is_not_shown(dsn: str) -> None:
    result = pgdoctor("diagnose", "--dsn", dsn)
    assert SECRET not in result.stderr
    if result.returncode == 2:
        complains(result, 2, "DSN is not valid")
    else:
        complains(result, 3)


@pytest.mark.parametrize(
    "arguments",
    [
        ["{}"],
        ["diagnose", "--format", "{}"],
        ["diagnose", "--exit-code={}"],
        ["diagnose", "--dns", "{}"],
        ["diagnose", "--dns={}"],
        ["agent", "--listen", "{}"],
        ["agent", "--config", "{}"],
        ["mitigate", "--config", "{}"],
        ["mitigate", "--most", "{}"],
        ["setup", "--server-version", "{}"],
        ["config", "check", "{}"],
        ["demo", "--bindir", "{}"],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize(
    "dsn",
    [
        f"postgresql://app:{SECRET}@127.0.0.1/shop",
        f"postgresql://app:my%20{SECRET}@127.0.0.1/shop",
        f"postgresql://127.0.0.1/shop?user=app&password={SECRET}",
        f"host=127.0.0.1 password='my {SECRET}'",
        f"app:{SECRET}@127.0.0.1",
    ],
)
def test_a_dsn_in_the_wrong_place_is_not_shown(arguments: list[str], dsn: str) -> None:
    with contextlib.redirect_stderr(io.StringIO()) as stderr, pytest.raises(SystemExit) as ended:
        main([each.replace("{}", dsn) for each in arguments])
    assert ended.value.code == 2
    said = stderr.getvalue()
    assert said.count("\n") == 1
    assert SECRET not in said


def test_a_dsn_in_the_configuration_is_not_shown(tmp_path: Path) -> None:
    config = tmp_path / "pgdoctor.toml"
    config.write_text(f'[agent]\ninterval = "postgresql://app:{SECRET}@h"\ndsn = "password={SECRET}"\n')
    result = pgdoctor("config", "check", str(config))
    assert result.returncode == 2
    interval, dsn = result.stderr.splitlines()
    assert "agent.interval = " in interval
    assert "agent.dsn: unknown key" in dsn
    assert SECRET not in result.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a file that takes nothing")
def test_a_fault_is_one_line_without_its_text_and_not_taken_for_a_block() -> None:
    with Path("/dev/full").open("w") as full:
        run = subprocess.run(
            [sys.executable, "-m", "pgdoctor", "config", "init"], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert run.returncode == 3
    assert run.stderr.startswith("pgdoctor: internal error, please report it: OSError at ")
    assert run.stderr.count("\n") == 1


def test_wrong_password(scene: Scene) -> None:
    scene.role("app", password="right")
    dsn = make_conninfo(scene.dsn, user="app", password=SECRET)
    complains(pgdoctor("diagnose", "--dsn", dsn), 3, 'password authentication failed for user "app"')


def test_no_password_where_one_is_needed(scene: Scene) -> None:
    parameters = {**conninfo_to_dict(scene.dsn), "password": ""}
    complains(pgdoctor("diagnose", "--dsn", make_conninfo("", **parameters)), 3, "password", "PGPASSFILE")


def test_unknown_database(scene: Scene) -> None:
    dsn = make_conninfo(scene.dsn, dbname="no_such_database")
    complains(pgdoctor("diagnose", "--dsn", dsn), 3, 'database "no_such_database" does not exist', "dbname=postgres")


def test_no_right_to_connect(scene: Scene) -> None:
    dsn = scene.role("app")
    scene.admin.execute(f"revoke connect on database {scene.admin.info.dbname} from public")
    complains(pgdoctor("diagnose", "--dsn", dsn), 3, "permission denied")


def test_no_connection_left(own_server: Callable[..., ThrowawayServer]) -> None:
    server = own_server(max_connections=5, settings={"superuser_reserved_connections": 0, "max_wal_senders": 0})
    with Scene(server.dsn) as scene:
        scene.admin.execute("select")
        for _ in range(3):
            scene.client()
        complains(pgdoctor("diagnose", "--dsn", server.dsn), 3, "too many clients")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["diagnose", "--format", "yaml"], ["yaml", "tree", "json"]),
        (["diagnose", "--nonsense"], ["--nonsense"]),
        (["nonsense"], ["nonsense"]),
        (["setup", "--nonsense"], ["--nonsense"]),
    ],
)
def test_wrong_usage_names_what_is_allowed(arguments: list[str], words: list[str]) -> None:
    complains(pgdoctor(*arguments), 2, *words)


def test_the_libpq_environment_and_our_own_are_heeded(scene: Scene) -> None:
    parameters = {str(key): str(word) for key, word in conninfo_to_dict(scene.dsn).items() if word is not None}
    libpq = {
        "PGHOST": parameters["host"],
        "PGPORT": parameters["port"],
        "PGUSER": parameters["user"],
        "PGPASSWORD": parameters.get("password", ""),
        "PGDATABASE": parameters["dbname"],
    }
    assert json.loads(pgdoctor("diagnose", "--format", "json", **libpq).stdout)["waits"] == []
    ours = pgdoctor("diagnose", "--format", "json", PGDOCTOR_DSN=scene.dsn)
    assert json.loads(ours.stdout)["server"]["database"] == parameters["dbname"]


def test_exit_status_says_whether_a_session_is_blocked(scene: Scene) -> None:
    assert pgdoctor("diagnose", "--dsn", scene.dsn, "--exit-code").returncode == 0
    scene.client("create table t (id int)", "commit", "lock table t")
    scene.client().block("select from t")
    assert pgdoctor("diagnose", "--dsn", scene.dsn).returncode == 0
    assert pgdoctor("diagnose", "--dsn", scene.dsn, "--exit-code").returncode == 1


def test_a_reader_that_has_seen_enough_is_no_error(scene: Scene) -> None:
    command = '"$0" -m pgdoctor diagnose --dsn "$1" | head -c 1'
    shell = ["bash", "-c", command, sys.executable, scene.dsn]
    result = subprocess.run(shell, capture_output=True, text=True, timeout=30, check=False)
    assert result.stderr == ""
