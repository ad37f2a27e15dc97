"""Where to connect to, as for psql; and the command that was meant."""

import os
import pty
import subprocess
import sys

import pytest
from psycopg.conninfo import conninfo_to_dict

from pgdoctor.cli._connection import Typed, build_dsn
from pgdoctor.errors import UsageError
from tests.cli.test_bad_input import SECRET, complains
from tests.cli.test_which_server import server_of
from tests.forked import pgdoctor
from tests.scenes import Scene

ELSEWHERE = f"host=elsewhere port=7 user=bob password={SECRET} dbname=theirs"


def combined(default: str = "", **typed: str) -> dict[str, str]:
    return conninfo_to_dict(build_dsn(Typed(**typed), default))


def test_omitted_options_keep_their_defaults() -> None:
    assert build_dsn(Typed(), ELSEWHERE) == ELSEWHERE
    assert build_dsn(Typed(dsn="postgresql://h/d"), ELSEWHERE) == "postgresql://h/d"
    assert build_dsn(Typed(), "") == ""


def test_a_connection_string_beats_the_options_as_in_psql() -> None:
    for whole in ({"dsn": "postgresql://a/shop"}, {"database": "host=a dbname=shop"}):
        found = combined(host="h", port="5", user="u", **whole)
        assert found == {"host": "a", "port": "5", "user": "u", "dbname": "shop"}


def test_options_beat_the_environment_each_by_itself() -> None:
    assert combined(ELSEWHERE, database="shop") == conninfo_to_dict(ELSEWHERE) | {"dbname": "shop"}
    assert combined(ELSEWHERE, port="8")["port"] == "8"


def test_no_password_of_the_environment_is_sent_elsewhere() -> None:
    assert combined(ELSEWHERE, host="h", database="shop") == {"host": "h", "dbname": "shop"}
    assert combined(ELSEWHERE, database="postgresql://h/d") == {"host": "h", "dbname": "d"}
    assert combined(ELSEWHERE, user="ada") == {"host": "elsewhere", "port": "7", "user": "ada", "dbname": "theirs"}
    assert combined(ELSEWHERE, user="bob")["password"] == SECRET


def test_a_value_of_any_characters_reaches_libpq_whole() -> None:
    odd = r"it's a \ name"
    assert combined(user=odd, database=odd) == {"user": odd, "dbname": odd}


@pytest.mark.parametrize("typed", [{"dsn": "host=a", "database": "b"}, {"database": f"app:{SECRET}@h/d"}])
def test_impossible_connection_is_refused_without_showing_it(typed: dict[str, str]) -> None:
    with pytest.raises(UsageError) as caught:
        combined(**typed)
    assert SECRET not in str(caught.value)


def test_all_forms_of_psql_reach_the_server(scene: Scene) -> None:
    parts = {key: str(value) for key, value in conninfo_to_dict(scene.dsn).items()}
    password = {"PGPASSWORD": parts["password"]}
    server = ("-h", parts["host"], "-p", parts["port"])
    expected = server_of(scene.dsn)
    assert expected["database"] == parts["dbname"]
    assert server_of(*server, "-U", parts["user"], "-d", parts["dbname"], **password) == expected
    assert server_of(*server, parts["dbname"], parts["user"], **password) == expected
    assert server_of(*server, "-d", parts["dbname"], parts["user"], **password) == expected
    assert server_of(*server, "--username", parts["user"], "-w", PGDATABASE=parts["dbname"], **password) == expected
    assert server_of("-d", parts["dbname"], PGDOCTOR_DSN=scene.dsn.replace(parts["dbname"], "postgres")) == expected


def test_a_third_word_is_wrong_usage() -> None:
    complains(pgdoctor("diagnose", "shop", "ada", "more"), 2, "unexpected extra argument (more)")
    complains(pgdoctor("diagnose", "-p", "x"), 2, "-p", "5432,5433")
    complains(pgdoctor("diagnose", "-d", "shop", "--dsn", "host=h"), 2, "once")
    complains(pgdoctor("-h"), 2, "--help")


def test_a_password_is_asked_for_on_a_terminal_only(scene: Scene) -> None:
    complains(pgdoctor("diagnose", "-W", scene.dsn), 2, "-W needs a terminal", "PGPASSFILE")
    parts = conninfo_to_dict(scene.dsn)
    without = scene.dsn.replace(str(parts["password"]), "wrong")
    controller, terminal = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-m", "pgdoctor", "diagnose", "-W", without, "--format", "json"],
        stdin=terminal,
        stdout=subprocess.PIPE,
        stderr=terminal,
        start_new_session=True,
        env=dict(os.environ),
    )
    os.close(terminal)
    said = b""
    while b"Password" not in said:
        said += os.read(controller, 100)
    os.write(controller, str(parts["password"]).encode() + b"\n")
    output, _ = child.communicate(timeout=30)
    os.close(controller)
    assert child.returncode == 0
    assert b'"schema_version"' in output
    assert str(parts["password"]).encode() not in said


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (("diagnos",), "did you mean diagnose?"),
        (("mitigate", "disarmm"), "did you mean disarm?"),
        (("incidents", "shwo"), "did you mean show?"),
        (("xyzzy",), "pgdoctor --help lists all"),
        (("kill", "123"), "did you mean cancel PID or terminate PID?"),
        (("top",), "did you mean watch?"),
        (("help",), "did you mean --help?"),
        (("-h", "db1"), "Help is --help. The connection comes after a command: pgdoctor diagnose -h HOST"),
        (("-U", "x"), "The connection comes after a command: pgdoctor diagnose -U USER"),
        (("explain", "-h"), "Help is --help; -h names a host"),
        (("cancel",), "the PID of a session is missing: pgdoctor diagnose and watch show PIDs"),
        (("cancel", "0"), "'0' is not a PID"),
        (("terminate", "abc\x1b[31m"), "is not a PID"),
        (("terminate", "9" * 5000), "is not a PID"),
        ((f"postgresql://u:{SECRET}@h/d",), "pgdoctor diagnose DSN"),
    ],
)
def test_a_mistyped_command_names_the_similar_command(typed: tuple[str, ...], said: str) -> None:
    complains(pgdoctor(*typed), 2, said)


@pytest.mark.parametrize(("typed", "said"), [("-V", "pgdoctor, version"), ("-?", "Usage: pgdoctor")])
def test_short_options_of_psql_for_version_and_help(typed: str, said: str) -> None:
    assert pgdoctor(typed).stdout.startswith(said)


def test_options_of_mitigate_hold_for_its_commands(scene: Scene) -> None:
    shown = pgdoctor("mitigate", "--dsn", scene.dsn, "disarm", "--reason", "x", PGDOCTOR_DSN="host=127.0.0.1 port=1")
    assert shown.returncode == 0, shown.stderr
    armed = pgdoctor("mitigate", "arm", "--reason", "x", scene.dsn)
    assert armed.returncode == 2
    assert pgdoctor("mitigate", "arm", "--reason", "x", "--dsn", scene.dsn).returncode == 0
