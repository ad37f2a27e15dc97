"""Each answer and each connection error says which server it is about, and never a password."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from pgdoctor.demo.throwaway_server import ThrowawayServer
from pgdoctor.errors import ServerError
from pgdoctor.postgres.connection import Connection
from tests.cli.test_bad_input import SECRET, complains
from tests.forked import pgdoctor
from tests.scenes import Scene

Starts = Callable[..., ThrowawayServer]


def server_of(*arguments: str, **environment: str) -> dict[str, object]:
    result = pgdoctor("diagnose", "--format", "json", *arguments, **environment)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)["server"]


def failure(dsn: str) -> str:
    async def attempt() -> None:
        async with await Connection.open(dsn, 2.0):
            pass

    with pytest.raises(ServerError) as caught:
        asyncio.run(attempt())
    return str(caught.value)


@pytest.mark.deadline(180)
def test_two_servers_with_the_same_database_are_distinguished(own_server: Starts) -> None:
    servers = [own_server(settings={"cluster_name": name}) for name in ("shop-1", "shop-2")]
    for server, name in zip(servers, ("shop-1", "shop-2"), strict=True):
        found = server_of("--dsn", server.dsn)
        assert (found["host"], found["port"], found["database"], found["user"]) == (
            "127.0.0.1",
            server.port,
            "postgres",
            "postgres",
        )
        assert (found["cluster_name"], found["in_recovery"]) == (name, False)
        major, minor = divmod(server.version_num, 10_000)
        line = f"postgres on 127.0.0.1:{server.port} as postgres, cluster {name}, PostgreSQL {major}.{minor}, primary"
        for command in ("diagnose", "triage"):
            assert line in " ".join(pgdoctor(command, "--dsn", server.dsn).stdout.split())


def test_a_socket_is_named_by_its_path(own_server: Starts) -> None:
    server = own_server(settings={"unix_socket_directories": "."})
    dsn = make_conninfo(server.dsn, host=str(server.data))
    assert server_of("--dsn", dsn)["host"] == str(server.data)
    shown = pgdoctor("diagnose", "--dsn", dsn).stdout
    assert f"postgres on {server.data}/.s.PGSQL.{server.port} as postgres" in shown


def test_the_server_of_a_service_file_or_the_environment_is_named(scene: Scene, tmp_path: Path) -> None:
    parts = conninfo_to_dict(scene.dsn)
    file = tmp_path / "services"
    file.write_text("[shop]\n" + "".join(f"{key}={value}\n" for key, value in parts.items()))
    found = server_of("--dsn", "service=shop", PGSERVICEFILE=str(file))
    environment = {
        f"PG{name}": str(parts[key])
        for name, key in (("HOST", "host"), ("PORT", "port"), ("USER", "user"), ("DATABASE", "dbname"))
    }
    assert server_of(**environment, PGPASSWORD=str(parts["password"])) == found
    assert (found["host"], str(found["port"]), found["user"]) == (parts["host"], parts["port"], parts["user"])


def test_a_server_that_is_down_is_named(tmp_path: Path) -> None:
    for command in (("diagnose",), ("triage",), ("locks",), ("watch",)):
        down = pgdoctor(*command, "--dsn", f"postgresql://pgdoctor:{SECRET}@127.0.0.1:1/shop")
        complains(down, 3, "connection to 127.0.0.1:1 as pgdoctor failed: Connection refused. No server listens there")
        assert down.stderr.count("No server listens there") == 1
    file = tmp_path / "services"
    file.write_text(f"[shop]\nhost=/nowhere\nport=7\nuser=pgdoctor\npassword={SECRET}\n")
    down = pgdoctor("diagnose", "--dsn", "service=shop", PGSERVICEFILE=str(file))
    complains(down, 3, "connection to /nowhere/.s.PGSQL.7 as pgdoctor failed: No such file or directory")
    down = pgdoctor("diagnose", PGHOST="::1", PGPORT="1", PGUSER="pgdoctor", PGPASSWORD=SECRET)
    complains(down, 3, "connection to [::1]:1 as pgdoctor failed")


def test_each_command_says_what_to_do_about_a_connection_that_failed(scene: Scene) -> None:
    for part, value, advice in (
        ("dbname", "nowhere", "dbname=postgres"),
        ("user", "stranger", "check its name, its password (PGPASSFILE"),
        ("port", "1", "-h, -p, PGHOST, PGPORT"),
    ):
        failed = pgdoctor("locks", "--dsn", make_conninfo(scene.dsn, **{part: value}))
        complains(failed, 3, advice)


def test_of_several_hosts_the_one_connected_to_is_named_or_each_failure(scene: Scene) -> None:
    parts = conninfo_to_dict(scene.dsn)
    several = make_conninfo(scene.dsn, host=f"127.0.0.1,{parts['host']}", port=f"1,{parts['port']}")
    assert server_of("--dsn", several)["port"] == int(str(parts["port"]))
    said = failure(f"host=127.0.0.1,127.0.0.2,/nowhere port=1,2,3 user=pgdoctor password={SECRET}")
    assert said == (
        "connection to 127.0.0.1:1 or 127.0.0.2:2 or /nowhere/.s.PGSQL.3 as pgdoctor failed: "
        "127.0.0.1:1: Connection refused; 127.0.0.2:2: Connection refused; "
        "/nowhere/.s.PGSQL.3: No such file or directory"
    )


def test_a_lost_connection_is_named(scene: Scene) -> None:
    async def lose() -> str:
        async with await Connection.open(scene.dsn, 5.0) as door:
            scene.admin.execute("select pg_terminate_backend(%s, 5000)", (door.connection.info.backend_pid,))
            with pytest.raises(ServerError) as caught:
                await door.fetch("system_identifier")
            return str(caught.value)

    parts = conninfo_to_dict(scene.dsn)
    assert asyncio.run(lose()).startswith(f"connection to {parts['host']}:{parts['port']} as {parts['user']} lost: ")


def test_the_server_is_known_without_another_statement(scene: Scene) -> None:
    async def statements() -> int:
        async with await Connection.open(scene.dsn, 5.0) as door:
            assert door.cluster_name is None
            return door.cost.statements

    assert asyncio.run(statements()) == 1


@pytest.mark.parametrize("part", ["12/{}@h/d", "p@{}@h/d", "1/{}@h:5/d?sslmode=require"])
def test_a_password_that_libpq_takes_for_a_place_is_not_shown(part: str) -> None:
    complains(pgdoctor("diagnose", "--dsn", f"postgresql://u:{part.format(SECRET)}"), 2, "the DSN is not valid")


def test_a_hostile_name_stays_in_its_line(scene: Scene) -> None:
    dsn = scene.role("a\nb\x1b[2J\u202e**_`|<b>", "pg_monitor")
    for form in ("tree", "table", "markdown"):
        shown = pgdoctor("diagnose", "--format", form, "--dsn", dsn).stdout
        assert all(line.isprintable() for line in shown.split("\n"))
        assert " as a�b�" in shown
    refused = pgdoctor("diagnose", "--dsn", make_conninfo(dsn, password=SECRET))
    complains(refused, 3, "as a�b�[2J�**_`|<b> failed: ")
