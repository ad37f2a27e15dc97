"""The SQL to paste, run by the real psql: it signals the session that was judged, and says so where it is another."""

import os
import subprocess
from pathlib import Path

import psycopg
import pytest

from pgdoctor.diagnosis.manual_signal import MOVED_ON, write_rollback_sql
from pgdoctor.render.markdown_report import render_markdown
from pgdoctor.render.report import Report
from pgdoctor.render.tree import render_tree
from tests.evil import HOSTILE, Decoys
from tests.looking import look
from tests.scenes import Client, Scene

HOSTILE_GIDS = [
    "plain",
    "it's one",
    "back\\slash",
    "\\'; DROP TABLE orders; --",
    "new\nline\ttab",
    "漢字 ‮evil\u200b 😀",
    "' OR true; --",
    "E'",
    "long " * 35,
]

#: A statement that ends when the test says so, and the transaction goes on.
UNTIL_A_SIGN = "do $$ begin loop exit when exists (select from signs); perform pg_sleep(0.02); end loop; end $$"


class Psql:
    """The program of the server's version."""

    def __init__(self, bindir: Path, dsn: str) -> None:
        self._program, self._dsn = bindir / "psql", dsn

    def __call__(self, text: str, *, dsn: str | None = None, options: str = "") -> str:
        """What it prints for a text on its standard input, as one who pastes it has it there."""
        done = subprocess.run(
            [self._program, "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", dsn or self._dsn],
            input=text,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
            env={**os.environ, "PGOPTIONS": options, "PGCLIENTENCODING": "UTF8"},
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


@pytest.fixture
def psql(bindir: Path, scene: Scene) -> Psql:
    return Psql(bindir, scene.dsn)


@pytest.fixture
def shop(scene: Scene) -> Scene:
    scene.admin.execute("create table orders (id int primary key, v int); insert into orders values (1, 0), (2, 0)")
    return scene


def idle_in_front(shop: Scene, **options: str) -> tuple[Client, Client]:
    """A transaction that is idle, and a session that waits for it."""
    holder = shop.client("lock table orders", **options)
    return holder, shop.client().block("select from orders")


def running_in_front(shop: Scene) -> tuple[Client, Client]:
    """A statement that runs, and a session that waits for it."""
    holder = shop.client("lock table orders").start("select pg_sleep(60)")
    return holder, shop.client().block("select from orders")


def offered(report: Report, pid: int) -> str:
    [text] = [cut.sql for cut in report.cuts if cut.pid == pid]
    assert text is not None
    return text


def pasted(drawn: str) -> str:
    """What a user copies from the screen: the lines of the first statement, with the blanks in front of them."""
    lines = drawn.splitlines()
    begin = next(number for number, line in enumerate(lines) if "SELECT COALESCE" in line)
    end = next(number for number, line in enumerate(lines) if line.endswith("pgdoctor;") and number >= begin)
    return "\n".join(lines[begin : end + 1]) + "\n"


# What it must not hit


def test_a_cancel_does_not_hit_the_next_statement(shop: Scene, psql: Psql) -> None:
    holder, waiter = running_in_front(shop)
    text = offered(look(shop.dsn), holder.pid)
    assert "pg_cancel_backend" in text
    shop.admin.execute("select pg_cancel_backend(%s)", [holder.pid])
    with pytest.raises(psycopg.errors.QueryCanceled):
        holder.finish()
    waiter.finish()
    holder.run("rollback")
    holder.start("select pg_sleep(60)")
    assert psql(text) == MOVED_ON
    assert holder.busy


def test_a_cancel_does_not_hit_the_next_statement_of_the_transaction(shop: Scene, psql: Psql) -> None:
    shop.admin.execute("create table signs ()")
    holder = shop.client("lock table orders").start(UNTIL_A_SIGN)
    shop.client().block("select from orders")
    text = offered(look(shop.dsn), holder.pid)
    shop.admin.execute("insert into signs default values")
    holder.finish()
    holder.start("select pg_sleep(60)")
    assert psql(text) == MOVED_ON
    assert holder.busy


def test_a_terminate_does_not_hit_the_next_transaction(shop: Scene, psql: Psql) -> None:
    holder, waiter = idle_in_front(shop)
    text = offered(look(shop.dsn), holder.pid)
    assert "pg_terminate_backend" in text
    holder.run("commit")
    waiter.finish()
    waiter.run("commit")
    holder.run("lock table orders")
    assert psql(text) == MOVED_ON
    holder.run("select 1")


def test_nothing_is_hit_where_the_session_is_gone(shop: Scene, psql: Psql) -> None:
    holder, _ = idle_in_front(shop)
    text = offered(look(shop.dsn), holder.pid)
    holder.close()
    shop.wait_until(lambda: holder.shown() == "no such session")
    assert psql(text) == MOVED_ON


def test_outside_of_a_transaction_the_next_statement_is_another_state(shop: Scene, psql: Psql) -> None:
    """A session that holds an advisory lock of its own, and no transaction: nothing else says that it is the same."""
    holder = shop.client("select pg_advisory_lock(7)", autocommit=True)
    shop.client().block("select pg_advisory_lock(7)")
    from pgdoctor.diagnosis.manual_signal import write_signal_sql
    from tests.looking import snapshot

    text = write_signal_sql("terminate", snapshot(shop.dsn).sessions[holder.pid])
    assert text is not None
    holder.run("select 1")
    assert psql(text) == MOVED_ON
    text = write_signal_sql("terminate", snapshot(shop.dsn).sessions[holder.pid])
    assert text is not None
    assert psql(text) == f"signalled: terminate {holder.pid}"


def test_a_transaction_block_does_not_show_it_an_old_picture(shop: Scene, psql: Psql) -> None:
    """Within a transaction the server shows the activity as it was when it was first asked for."""
    holder, waiter = idle_in_front(shop)
    text = offered(look(shop.dsn), holder.pid)
    with psycopg.connect(shop.dsn) as person:
        person.execute("select count(*) from pg_stat_activity")
        holder.run("commit")
        waiter.finish()
        waiter.run("commit")
        holder.run("lock table orders")
        assert person.execute(text.encode()).fetchall() == [(MOVED_ON,)]
    holder.run("select 1")


def test_a_role_that_cannot_see_the_session_gets_a_message(shop: Scene, psql: Psql) -> None:
    holder, _ = idle_in_front(shop)
    text = offered(look(shop.dsn), holder.pid)
    assert "hidden from this role" in psql(text, dsn=shop.role("blind"))
    holder.run("select 1")


# What it hits


def test_a_cancel_hits_the_statement_that_was_judged(shop: Scene, psql: Psql) -> None:
    holder, waiter = running_in_front(shop)
    assert psql(offered(look(shop.dsn), holder.pid)) == f"signalled: cancel {holder.pid}"
    with pytest.raises(psycopg.errors.QueryCanceled):
        holder.finish()
    waiter.finish()


@pytest.mark.parametrize("width", [None, 40, 80, 100])
def test_a_terminate_hits_as_it_stands_on_the_screen(shop: Scene, psql: Psql, width: int | None) -> None:
    holder, waiter = idle_in_front(shop)
    text = pasted(render_tree(look(shop.dsn), width))
    assert psql(text) == f"signalled: terminate {holder.pid}"
    waiter.finish()
    assert psql(text) == MOVED_ON


def test_a_terminate_hits_as_it_stands_in_markdown(shop: Scene, psql: Psql) -> None:
    holder, waiter = idle_in_front(shop)
    assert psql(pasted(render_markdown(look(shop.dsn)))) == f"signalled: terminate {holder.pid}"
    waiter.finish()


def test_terminate_hits_the_transaction_after_another_statement(shop: Scene, psql: Psql) -> None:
    holder, waiter = idle_in_front(shop)
    text = offered(look(shop.dsn), holder.pid)
    holder.run("select 1")
    assert psql(text) == f"signalled: terminate {holder.pid}"
    waiter.finish()


def test_a_set_frees_by_all_of_its_statements(shop: Scene, psql: Psql) -> None:
    holders = [shop.client("lock table orders in share mode") for _ in range(2)]
    waiter = shop.client().block("update orders set v = 1 where id = 1")
    [together] = look(shop.dsn).cut_sets
    said = psql("\n".join(together.sql))
    assert set(said.splitlines()) == {f"signalled: terminate {each.pid}" for each in holders}
    waiter.finish()


def test_a_hostile_search_path_changes_nothing(shop: Scene, psql: Psql, decoys: Decoys) -> None:
    holder, waiter = idle_in_front(shop, options="-c search_path=pg_catalog,public")
    text = offered(look(shop.dsn), holder.pid)
    for name, value in HOSTILE.items():
        if "timeout" not in name:
            shop.admin.execute(
                f"alter role current_user in database {shop.admin.info.dbname} set {name} = {value}".encode()
            )
    try:
        assert psql("select pg_catalog.current_setting('search_path');" + text).split("\n")[-2:] == [
            "evil, pg_catalog",
            f"signalled: terminate {holder.pid}",
        ]
        assert psql(text) == MOVED_ON
    finally:
        shop.admin.execute(f"alter role current_user in database {shop.admin.info.dbname} reset all".encode())
    assert decoys.called() == []
    waiter.finish()


@pytest.mark.parametrize("conforming", ["on", "off"])
@pytest.mark.parametrize("width", [None, 38])
def test_a_prepared_transaction_of_any_name_is_rolled_back(
    shop: Scene, psql: Psql, conforming: str, width: int | None
) -> None:
    from pgdoctor.render.wrapped_sql import wrap_sql

    for gid in HOSTILE_GIDS:
        with psycopg.connect(shop.dsn, autocommit=True) as other:
            xid = other.xid(1, "", "")
            assert xid
            other.execute("begin")
            other.execute("update orders set v = v + 1 where id = 2")
            other.execute(psycopg.sql.SQL("prepare transaction {}").format(psycopg.sql.Literal(gid)))
        text = write_rollback_sql(gid)
        lines = [text] if width is None else wrap_sql(text, width)
        psql("\n".join(lines), options=f"-c standard_conforming_strings={conforming}")
        assert shop.admin.execute("select gid from pg_prepared_xacts where gid = %s", [gid]).fetchall() == []
    assert shop.admin.execute("select count(*) from orders").fetchone() == (2,)
