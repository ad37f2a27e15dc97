"""Saved rows of the server's views, as psql and others write them, beside what the agent says of the same moment."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from psycopg.conninfo import conninfo_to_dict

from pgdoctor.cli import cli
from pgdoctor.cli._options import fetch_diagnosis, run_coroutine
from pgdoctor.model.diagnosis import Diagnosis
from pgdoctor.serverlog.row_incident import judge_rows
from pgdoctor.serverlog.saved_tables import find_tables
from tests.diagnosis.causes.conftest import TABLES
from tests.scenes import Client, Scene

_LOCKS, _ACTIVITY = "select * from pg_locks", "select * from pg_stat_activity"
_JOIN = "select l.*, a.* from pg_locks l join pg_stat_activity a using (pid)"


@pytest.fixture
def shop(scene: Scene) -> Scene:
    scene.admin.execute(TABLES)
    return scene


@pytest.fixture
def psql(scene: Scene, bindir: Path) -> Callable[..., str]:
    """What psql prints of statements, with options."""
    given = conninfo_to_dict(scene.dsn)
    environment = {"PGPASSWORD": str(given.pop("password")), "LC_ALL": "C.UTF-8"}
    uri = " ".join(f"{name}={value}" for name, value in given.items())

    def ask_psql(*words: str) -> str:
        options = [option for word in words for option in ((word,) if word.startswith("-") else ("-c", word))]
        command = [str(bindir / "psql"), "-X", uri, *options]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout

    return ask_psql


def queue(shop: Scene) -> Client:
    """Two readers behind an ALTER TABLE behind a session that is idle in its transaction."""
    holder = shop.client("update orders set v = 1 where id = 7", application_name="checkout")
    shop.client(application_name="deploy").block("alter table orders\n  add column c int")
    for _ in range(2):
        shop.client().block("select 'a|b' || 'secret' from orders -- größer")
    return holder


def check(text: str, live: Diagnosis, *, has_states: bool = True) -> None:
    judged = judge_rows(find_tables(text))
    found = judged.diagnosis
    # Without a name in the rows, that of the statements that wait.
    assert judged.relation == "orders"
    assert {node: set(blockers) for node, blockers in found.graph.blockers_of.items()} == {
        node: set(blockers) for node, blockers in live.graph.blockers_of.items()
    }
    if has_states:
        assert {each.pid: each.classification for each in found.blockers} == {
            each.pid: each.classification for each in live.blockers
        }


@pytest.mark.parametrize(
    "options",
    [
        pytest.param([], id="aligned"),
        pytest.param(["-Pborder=2"], id="border"),
        pytest.param(["-Pborder=2", "-Plinestyle=unicode"], id="unicode"),
        pytest.param(["-x"], id="expanded"),
        pytest.param(["-xPborder=2"], id="expanded with border"),
    ],
)
def test_tables_of_psql_say_what_the_agent_says(shop: Scene, psql: Callable[..., str], options: list[str]) -> None:
    queue(shop)
    live = run_coroutine(fetch_diagnosis(shop.dsn))
    check(psql(*options, _LOCKS, _ACTIVITY), live)
    check(psql(*options, _JOIN), live)


def test_csv_says_what_the_agent_says(shop: Scene, psql: Callable[..., str], tmp_path: Path) -> None:
    queue(shop)
    live = run_coroutine(fetch_diagnosis(shop.dsn))
    check(psql("--csv", _JOIN), live)
    files = [tmp_path / "locks.csv", tmp_path / "activity.csv"]
    for file, statement in zip(files, (_LOCKS, _ACTIVITY), strict=True):
        file.write_text(psql("--csv", statement))
    result = CliRunner().invoke(cli, ["read", *map(str, files), "--format", "json"], catch_exceptions=False)
    [incident] = json.loads(result.output)["incidents"]
    assert (incident["class"], incident["classes"]) == ("idle_in_transaction", ["idle_in_transaction", "migration"])
    assert incident["peak_blocked"] == 3
    assert "secret" not in result.output


def test_json_says_what_the_agent_says(shop: Scene, psql: Callable[..., str]) -> None:
    queue(shop)
    live = run_coroutine(fetch_diagnosis(shop.dsn))
    check(psql("-At", f"select json_agg(r) from ({_JOIN}) r"), live)
    check(psql("-At", f"select row_to_json(r) from ({_JOIN}) r"), live)


def test_names_of_relations_are_kept(shop: Scene, psql: Callable[..., str]) -> None:
    queue(shop)
    text = psql("select pid, locktype, relation::regclass, mode, granted, transactionid from pg_locks")
    judged = judge_rows(find_tables(text))
    assert judged.relation == "orders"
    # Without pg_stat_activity it is unknown what they did.
    assert judged.classification == "unknown"


@pytest.mark.parametrize("options", [[], ["-x"], ["--csv"]])
def test_documented_query_names_the_root(shop: Scene, psql: Callable[..., str], options: list[str]) -> None:
    """It pairs sessions that wait for the same lock with each other; those pairs are no waits."""
    holder = shop.client("update orders set v = 1 where id = 7")
    waiters = [shop.client().block(f"update orders set v = {row} where id = 7").pid for row in (2, 3)]
    [file] = (Path(__file__).parents[2] / "sql").rglob("documented_blocking_locks.sql")
    found = judge_rows(find_tables(psql(*options, "\n" + file.read_text()))).diagnosis
    assert {each.pid for each in found.blockers if each.root} == {holder.pid}
    assert set(found.graph.iterate_behind(holder.pid)) == set(waiters)


def test_prepared_transaction_has_no_pid(shop: Scene, psql: Callable[..., str]) -> None:
    shop.client("update orders set v = 1 where id = 7", "prepare transaction 'left'")
    shop.client().block("update orders set v = 2 where id = 7")
    text = psql(_LOCKS, _ACTIVITY)
    shop.admin.execute("rollback prepared 'left'")
    assert judge_rows(find_tables(text)).classification == "prepared_transaction"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "pid,mode,granted\n",
        '[{"pid": 1, "mode": "ShareLock", "granted": true}]',
        "[1, [], null]",
        "a | b\n---+---\n",
        "{",
    ],
)
def test_rows_without_a_wait_make_no_incident(text: str) -> None:
    assert judge_rows(find_tables(text)) is None
