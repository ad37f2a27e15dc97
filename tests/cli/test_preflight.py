"""`pgdoctor preflight`: locks of a script and the sessions that block it, on a server with real sessions."""

import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.cli.test_bad_input import SECRET, complains
from tests.docs.test_schemas import check
from tests.forked import pgdoctor
from tests.scenes import Client, Scene

ALTER = "alter table orders add column x int"


@pytest.fixture
def orders(scene: Scene) -> Scene:
    scene.admin.execute("create table orders (id int primary key, v int); insert into orders values (1, 0)")
    scene.admin.execute("vacuum analyze orders")
    return scene


@pytest.fixture
def holder(orders: Scene) -> Client:
    """A forgotten transaction of a checkout, which has changed a row."""
    return orders.client("update orders set v = 1", application_name="checkout")


def preflight(dsn: str, *words: str) -> "subprocess.CompletedProcess[str]":
    return pgdoctor("preflight", *words, "--dsn", dsn)


def facts(dsn: str, *words: str) -> Any:
    return check("preflight", preflight(dsn, *words, "--format", "json").stdout)


def test_free_way_is_status_0_and_nothing_runs(orders: Scene) -> None:
    result = preflight(orders.dsn, ALTER)
    assert (result.returncode, result.stderr) == (0, "")
    assert "AccessExclusiveLock" in result.stdout
    assert "Free to run: 1 brief." in result.stdout
    assert "SET lock_timeout = '3s'" in result.stdout
    assert orders.admin.execute("select count(*) from pg_attribute where attname = 'x'").fetchone() == (0,)


def test_idle_transaction_blocked_by_is_named(orders: Scene, holder: Client) -> None:
    result = preflight(orders.dsn, ALTER)
    assert result.returncode == 1
    assert f'session {holder.pid} ("checkout"' in result.stdout
    assert "idle in transaction" in result.stdout
    assert "holds RowExclusiveLock on public.orders" in result.stdout
    assert "Not free to run: 1 blocked." in result.stdout
    report = facts(orders.dsn, ALTER)
    [statement] = report["statements"]
    [obstacle] = statement["blocked_by"]
    assert (report["would_block"], report["waiting_helps"]) == (True, True)
    assert (statement["verdict"], obstacle["pid"], obstacle["counts"]) == ("blocked", holder.pid, True)
    assert obstacle["transaction_seconds"] > 0
    assert {lock["mode"] for lock in obstacle["locks"]} == {"RowExclusiveLock"}
    assert [session["application"] for session in report["sessions"]] == ["checkout"]
    # Literals of the session and of the script are shown nowhere.
    assert "v = 1" not in json.dumps(report)


def test_a_statement_that_does_not_conflict_is_free(orders: Scene, holder: Client) -> None:
    assert preflight(orders.dsn, "comment on table orders is 'x'").returncode == 0
    assert preflight(orders.dsn, "create index concurrently on orders (v)").returncode == 1


def test_young_blocker_may_be_accepted(orders: Scene, holder: Client) -> None:
    result = preflight(orders.dsn, ALTER, "--max-blocker-age", "1h")
    assert result.returncode == 0
    assert "younger than --max-blocker-age" in result.stdout
    assert preflight(orders.dsn, ALTER, "--max-blocker-age", "1ms").returncode == 1


def test_prepared_transaction_blocked_by_is_named(orders: Scene) -> None:
    client = orders.client("update orders set v = 2")
    client.run("prepare transaction 'two \x1b[31m phases'")
    result = preflight(orders.dsn, ALTER)
    assert result.returncode == 1
    assert "prepared transaction two" in result.stdout
    assert "\x1b" not in result.stdout


def test_waiter_ahead_in_the_queue_is_blocked_by(orders: Scene) -> None:
    orders.client("select from orders")
    waiter = orders.client().block("lock table orders in access exclusive mode")
    report = facts(orders.dsn, "lock table orders in access share mode")
    [obstacle] = report["statements"][0]["blocked_by"]
    assert (obstacle["pid"], obstacle["locks"][0]["granted"]) == (waiter.pid, False)


def test_old_snapshot_is_blocked_by_of_an_index_build(orders: Scene) -> None:
    orders.admin.execute("create table other (id int)")
    reader = orders.client("select from other")
    reader.run("commit")
    reader.run("begin isolation level repeatable read")
    reader.run("select from other")
    result = preflight(orders.dsn, "create index concurrently on orders (v)")
    assert result.returncode == 1
    assert f"session {reader.pid}" in result.stdout
    assert "has an older snapshot" in result.stdout


def test_watch_ends_when_the_way_is_free(orders: Scene, holder: Client) -> None:
    found: list[Any] = []
    thread = threading.Thread(
        target=lambda: found.append(preflight(orders.dsn, ALTER, "--watch", "--timeout", "100s")), daemon=True
    )
    thread.start()
    own = "select 1 from pg_stat_activity where application_name = 'pgdoctor' and datname = current_database()"
    orders.wait_until(lambda: orders.admin.execute(own).fetchone())
    time.sleep(1)
    assert not found
    holder.run("commit")
    thread.join(100)
    [result] = found
    assert result.returncode == 0
    assert "Free to run" in result.stdout


def test_watch_gives_up_after_its_timeout(orders: Scene, holder: Client) -> None:
    result = preflight(orders.dsn, ALTER, "--watch", "--timeout", "1s")
    assert result.returncode == 1
    assert f"session {holder.pid}" in result.stdout


def test_watch_does_not_wait_for_what_waiting_does_not_mend(orders: Scene, holder: Client) -> None:
    result = preflight(orders.dsn, f"{ALTER}; do $$ begin end $$", "--watch")
    assert result.returncode == 1
    assert "1 unknown, 1 blocked" in result.stdout


def test_use_of_a_table_is_measured(orders: Scene) -> None:
    is_over = threading.Event()

    def use() -> None:
        with psycopg.connect(orders.dsn, autocommit=True) as connection:
            while not is_over.is_set():
                connection.execute("select from orders where v = 0")
                connection.execute(
                    "select pg_stat_force_next_flush()" if connection.info.server_version >= 150000 else ""
                )

    thread = threading.Thread(target=use, daemon=True)
    thread.start()

    def measured() -> float:
        [queue] = facts(orders.dsn, ALTER)["statements"][0]["queue"]
        return queue["scans_per_second"]

    try:
        assert orders.wait_until(measured, 60) > 0
    finally:
        is_over.set()
        thread.join(20)


def test_small_tables_count_as_instant(orders: Scene) -> None:
    rewrite = "alter table orders alter column v type bigint"
    assert facts(orders.dsn, rewrite)["statements"][0]["verdict"] == "brief"
    report = facts(orders.dsn, rewrite, "--small", "0kB")
    [statement] = report["statements"]
    assert statement["verdict"] == "dangerous"
    assert statement["work"] == [{"kind": "rewrite", "relation": "public.orders", "bytes": 8192, "rows": 1}]
    assert preflight(orders.dsn, rewrite, "--small", "0kB").returncode == 1
    assert preflight(orders.dsn, rewrite, "--small", "0kB", "--allow-dangerous").returncode == 0


def test_table_that_was_never_measured_is_not_small(scene: Scene) -> None:
    scene.admin.execute("create table fresh (v int) with (autovacuum_enabled = off)")
    [statement] = facts(scene.dsn, "alter table fresh alter column v type bigint")["statements"]
    assert (statement["verdict"], statement["work"][0]["bytes"]) == ("dangerous", None)


def test_missing_relation_is_not_free(orders: Scene) -> None:
    result = preflight(orders.dsn, "alter table order_s add column x int")
    assert result.returncode == 1
    assert "there is no relation order_s" in result.stdout
    assert preflight(orders.dsn, "drop table if exists order_s").returncode == 0


def test_names_are_found_by_the_search_path(orders: Scene) -> None:
    orders.admin.execute("create schema archive; create table archive.orders (id int)")
    for script, wanted in (
        (ALTER, ["public.orders"]),
        (f"set search_path = archive, public; {ALTER}", ["archive.orders"]),
        ("alter table archive.orders add column x int", ["archive.orders"]),
        (f"set search_path to nowhere; {ALTER}", ["archive.orders", "public.orders"]),
    ):
        statement = facts(orders.dsn, script)["statements"][-1]
        assert sorted(lock["relation"] for lock in statement["locks"]) == wanted, script


def test_hostile_name_of_no_relation_does_not_reach_the_terminal(orders: Scene) -> None:
    result = preflight(orders.dsn, 'alter table "a\x1b]0;title\x07\u202eb" add c int')
    assert "there is no relation a" in result.stdout
    assert not {"\x1b", "\x07", "\u202e"} & set(result.stdout)


def test_hostile_names_do_not_reach_the_terminal(scene: Scene) -> None:
    name = '"a\x1b[2J\u202eb; drop table x"'
    scene.admin.execute(f"create table {name} (id int)")
    holder = scene.client(f"select from {name}", application_name="\u202e<b>@channel")
    for words in ((), ("--format", "json"), ("--offline",)):
        dsn = () if "--offline" in words else ("--dsn", scene.dsn)
        result = pgdoctor("preflight", f"alter table {name} add check (id > 0)", *dsn, *words)
        assert result.returncode == 1
        assert "\x1b" not in result.stdout
        assert "\u202e" not in result.stdout
    assert holder.pid


def test_ordinary_role_is_enough(orders: Scene, holder: Client) -> None:
    dsn = orders.role("watcher", "pg_monitor")
    result = preflight(dsn, ALTER)
    assert (result.returncode, result.stderr) == (1, "")
    assert "checkout" in result.stdout


def test_script_is_a_file_or_standard_input(orders: Scene, tmp_path: Path) -> None:
    script = tmp_path / "V1__price.sql"
    script.write_text(f"\ufeffbegin;\n{ALTER};\ncommit;\n", encoding="utf-8")
    report = facts(orders.dsn, str(script))
    assert [each["line"] for each in report["statements"]] == [1, 2, 3]
    assert report["source"].endswith("V1__price.sql")
    with script.open("rb") as stream:
        done = subprocess.run(
            [sys.executable, "-m", "pgdoctor", "preflight", "--offline", "-", "--format", "json"],
            stdin=stream,
            capture_output=True,
            check=False,
        )
    assert done.returncode == 0
    assert check("preflight", done.stdout.decode())["source"] == "standard input"


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (b"alter table t add x int;\x00", "has a zero byte in line 1"),
        (b"select 1;\nselect '\xff'", "is not UTF-8: line 2"),
        ("select 1".encode("utf-16"), "is UTF-16: save it as UTF-8"),
        (b" " * ((16 << 20) + 1), "is larger than 16 MB"),
    ],
)
def test_file_that_is_no_sql_is_one_line_and_two(tmp_path: Path, body: bytes, word: str) -> None:
    (tmp_path / "x.sql").write_bytes(body)
    complains(pgdoctor("preflight", "--offline", str(tmp_path / "x.sql")), 2, word)


@pytest.mark.parametrize(
    ("words", "word"),
    [
        (("nowhere.sql",), "no file nowhere.sql"),
        (("migrations",), "no file migrations, and it is not a statement"),
        (("/",), "/ is not a file"),
        ((ALTER, "--offline", "--watch"), "--offline sees no session"),
        ((ALTER, "--timeout", "5s"), "--timeout is for --watch"),
        ((ALTER, "--max-blocker-age", "5"), "a duration with a unit"),
        ((ALTER, "--small", "5"), "a size with a unit"),
        ((ALTER, "--server-version", "16"), "--server-version is for --offline"),
        ((ALTER, "--offline", "--server-version", "9"), "14<=x<=18"),
    ],
)
def test_wrong_usage_is_one_line_and_two(words: tuple[str, ...], word: str) -> None:
    complains(pgdoctor("preflight", *words), 2, word)


def test_no_server_is_one_line_and_three() -> None:
    complains(pgdoctor("preflight", ALTER, "--dsn", f"postgresql://app:{SECRET}@127.0.0.1:1/shop"), 3, "refused")


def test_literals_of_a_script_are_hidden(orders: Scene) -> None:
    script = f"alter role app password '{SECRET}'; insert into orders values (1, 4711); notify x, '{SECRET}'"
    for words in ((), ("--format", "json")):
        result = preflight(orders.dsn, script, *words)
        assert SECRET not in result.stdout
        assert "4711" not in result.stdout
    assert "4711" in preflight(orders.dsn, script, "--show-literals").stdout


def test_offline_says_what_cannot_be_known() -> None:
    result = pgdoctor("preflight", "--offline", "create index on orders (v)")
    assert result.returncode == 1
    assert "No server was asked: judged for PostgreSQL 18" in result.stdout
    assert "not known without a server" in result.stdout
    assert "CREATE INDEX CONCURRENTLY" in result.stdout


@pytest.mark.since(18)
def test_locked_catalog_is_waited_for_no_longer_than_the_deadline(orders: Scene) -> None:
    """A session holds the strongest lock on the table itself: names and sizes are read all the same."""
    orders.client("lock table orders in access exclusive mode")
    report = facts(orders.dsn, "alter table orders attach partition x for values in (1)", "--format", "json")
    assert report["would_block"]
