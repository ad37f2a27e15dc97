"""Statement texts of any bytes and any length are never an error, and never show a literal."""

import json

import pytest
from click.testing import CliRunner
from psycopg import sql
from psycopg.conninfo import make_conninfo

from pgdoctor.cli import cli
from tests.forked import pgdoctor
from tests.scenes import Scene

SECRET = "4929-1234-5678-9123"


def run(*arguments: str) -> str:
    """Standard output of a command that goes well, run in this process: there are many."""
    result = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout


def blocked_statement(scene: Scene, statement: str) -> str:
    """What `diagnose` shows of a statement that waits for the table `t`."""
    scene.client("lock table t")
    waiter = scene.client().block(statement)
    for form in ("tree", "table", "markdown"):
        output = run("diagnose", "--dsn", scene.dsn, "--format", form)
        assert SECRET not in output
        assert str(waiter.pid) in output
    assert SECRET not in run("locks", "--dsn", scene.dsn)
    output = run("diagnose", "--dsn", scene.dsn, "--format", "json")
    assert SECRET not in output
    [wait] = json.loads(output)["waits"]
    shown: str = wait["blocked_statement"]
    return shown


@pytest.fixture
def table(scene: Scene) -> Scene:
    scene.admin.execute("create table t (id int, v text)")
    return scene


@pytest.mark.parametrize(
    "statement",
    [
        f"select from t where v = '{SECRET}'",
        f"select from t where v = $${SECRET}$$",
        f"select from t where v = e'\\'{SECRET}'",
        f"/* {SECRET} */ select from t -- {SECRET}",
        f"insert into t values (1,'{SECRET}'),(2,'{SECRET}')",
        f"do $do$ begin perform from t where v = '{SECRET}'; end $do$",
        "select from t where v in (" + ",".join(f"'{SECRET}'" for _ in range(2000)) + ")",
        f"select from t where v = '{'x' * 1000}{SECRET}'",
        f"update t set v = '{SECRET}' where id=1;select 1",
        f"select from t where v = 'Ünïcödé ☃ {SECRET}'",
        f"select from t where v = '\x1b[31m{SECRET}'",
        "select " + "(" * 400 + "1" + ")" * 400 + f" from t where v = '{SECRET}'",
    ],
    ids=range(12),
)
def test_literals_and_comments_are_not_shown(table: Scene, statement: str) -> None:
    shown = blocked_statement(table, statement)
    assert shown
    assert "\x1b" not in shown


def test_literals_are_shown_when_asked_for(table: Scene) -> None:
    table.client("lock table t")
    table.client().block(f"select from t where v = '{SECRET}'")
    assert SECRET in run("diagnose", "--format", "json", "--show-literals", "--dsn", table.dsn)
    assert "select from t where v = '4929" in run("locks", "--show-literals", "--dsn", table.dsn)


def test_bytes_of_another_encoding_are_no_error(scene: Scene) -> None:
    name = scene.database() + "_ascii"
    scene.admin.execute(
        sql.SQL("create database {} template template0 encoding 'SQL_ASCII'").format(sql.Identifier(name))
    )
    there = make_conninfo(scene.dsn, dbname=name)
    try:
        scene.client("create table t (id int)", "commit", "lock table t", dbname=name)
        waiter = scene.client("set client_encoding = 'SQL_ASCII'", dbname=name)
        waiter._connection.execute("select")
        raw = b"select from t where '\xff\xfe\\' = '\xc3'"
        waiter.block(raw)  # type: ignore[arg-type]
        for dsn in (scene.dsn, there):
            for arguments in (["diagnose", "--format", "json"], ["diagnose", "--format", "tree"], ["locks"]):
                result = pgdoctor(*arguments, "--dsn", dsn)
                assert (result.returncode, result.stderr) == (0, "")
                assert str(waiter.pid) in result.stdout
    finally:
        for client in scene._clients:
            client.close()
        scene.admin.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))
