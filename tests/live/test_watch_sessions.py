"""The list of all sessions in a real terminal, over a real server: while no session is blocked, and when one is."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest

from tests.live.terminal import DOWN, PATIENCE, Terminal
from tests.scenes import Scene

pytestmark = pytest.mark.deadline(120)

Watch = Callable[..., Terminal]

#: Characters of two cells, and accents; then escape sequences and an override of the writing direction.
WIDE_TABLE = "evil 漢字漢字漢字 Zürich"
HOSTILE_TABLE = "\x1b[31m\u202eevil"
HOSTILE_NAME = "\x1b]0;owned\x07\u202e漢字"


#: Columns of a server on this machine.
USAGE = ["CPU%", "MEM", "READ/s", "WRITE/s"] if sys.platform == "linux" else []


#: Of a server elsewhere this is shown instead.
FAR = [] if USAGE else ["CLIENT"]


@pytest.fixture
def shop(scene: Scene) -> Scene:
    """An idle transaction of `reporting`, a sleeping statement of `checkout`, an idle session of `pool`."""
    scene.admin.execute("create table orders (id int primary key, v int); insert into orders values (1, 0)")
    scene.client("select 'hunter2' from orders", application_name="reporting")
    scene.client(application_name="checkout").start("select pg_sleep(600), 'hunter2'")
    scene.client(application_name="pool", autocommit=True).run("select 4711 as answer")
    return scene


def line_with(terminal: Terminal, word: str) -> str:
    """The line with a word, once it is there: a screen that is being drawn has it not always."""
    found: list[str] = []

    def is_shown() -> bool:
        found[:] = [line for line in terminal.shown if word in line]
        return bool(found)

    terminal.until_so(is_shown, word)
    return found[0]


def headings(terminal: Terminal) -> str:
    return line_with(terminal, "PID ")


@pytest.mark.parametrize(
    ("columns", "titles"),
    [
        (40, ["PID", "STATE", "AGE", "APPLICATION"]),
        (80, ["PID", "STATE", "AGE", "WAIT EVENT", "APPLICATION", "STATEMENT"]),
        (100, ["PID", "STATE", "AGE", *USAGE[:1], "WAIT EVENT", "APPLICATION", *FAR, "STATEMENT"]),
        (
            200,
            [
                "PID",
                "STATE",
                "AGE",
                "XACT",
                *USAGE,
                "WAIT EVENT",
                "APPLICATION",
                "USER",
                "DATABASE",
                "CLIENT",
                "STATEMENT",
            ],
        ),
    ],
)
def test_sessions_are_listed_by_state_while_none_is_blocked(
    shop: Scene, watch: Watch, columns: int, titles: list[str]
) -> None:
    terminal = watch(columns=columns, lines=20)
    terminal.until("No session is blocked", "reporting", "checkout", "pool", "transactions/s")
    assert headings(terminal).replace("WAIT EVENT", "WAIT_EVENT").split() == [each.replace(" ", "_") for each in titles]
    assert "active" in line_with(terminal, "checkout")
    assert "idle in tx" in line_with(terminal, "reporting")
    assert re.search("checkout.*reporting.*pool", terminal.text, re.DOTALL)
    assert "hunter2" not in terminal.text
    assert "4711" not in terminal.text
    if columns >= 80:
        assert "PgSleep" in line_with(terminal, "checkout")
        assert "select pg_sleep(?" in line_with(terminal, "checkout") + " " * columns or columns < 100
    terminal.press("q")
    assert terminal.end() == 0


def test_list_of_the_blocked_comes_by_itself_and_goes_again(shop: Scene, watch: Watch) -> None:
    terminal = watch(columns=120)
    terminal.until("STATE", "reporting")
    holder = shop.client("update orders set v = 1 where id = 1", application_name="holder")
    waiter = shop.client(application_name="waiter").block("update orders set v = 2 where id = 1")
    terminal.until("1 session blocked", "BLOCKS", "holder", "waiter")
    terminal.press("1")
    terminal.until("STATE", "reporting", "transactionid")
    assert terminal.style(str(waiter.pid)).fg == "red"
    terminal.press("\t")
    terminal.until("BLOCKS")
    holder.run("commit")
    waiter.finish()
    terminal.until("No session is blocked", "STATE", "reporting")


def test_wait_that_follows_a_chosen_list_shows_the_blocked_again(shop: Scene, watch: Watch) -> None:
    terminal = watch(columns=120)
    terminal.until("STATE", "reporting")
    terminal.press("2")
    terminal.until("BLOCKS")
    terminal.press("1")
    terminal.until("STATE")
    shop.client("update orders set v = 1 where id = 1")
    shop.client().block("update orders set v = 2 where id = 1")
    terminal.until("1 session blocked", "BLOCKS")


@pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc")
def test_sessions_are_sorted_by_what_they_take_from_this_machine(shop: Scene, watch: Watch) -> None:
    """A session that computes comes first by CPU, one that has sorted much by memory."""
    shop.client(application_name="burner").start("select count(*) from generate_series(1, 100000000000)")
    hoarder = shop.client("set work_mem = '256MB'", application_name="hoarder")
    hoarder.run("declare c cursor for select repeat('x', 100) || i from generate_series(1, 300000) i order by 1 desc")
    hoarder.run("fetch 1 from c")
    terminal = watch(columns=200, lines=20)
    terminal.until("CPU%", "burner", "hoarder", "load")

    def first_is(name: str) -> bool:
        lines = terminal.shown
        place = next((place for place, line in enumerate(lines) if "CPU%" in line), None)
        return place is not None and name in lines[place + 1]

    terminal.press("u")
    terminal.until_so(lambda: "by CPU" in terminal.text and first_is("burner"), "burner first")
    terminal.press("m")
    terminal.until_so(lambda: "by memory" in terminal.text and first_is("hoarder"), "hoarder first")
    terminal.until_so(lambda: re.search(r"\d M ", line_with(terminal, "hoarder")), "megabytes")


def test_filter_leaves_only_rows_with_its_text(shop: Scene, watch: Watch) -> None:
    terminal = watch(columns=120)
    terminal.until("reporting", "checkout", "pool")
    # Keys that would otherwise quit, cancel and terminate are letters of the filter.
    terminal.send_bytes("/ckq\x7f\x7f\x7fCHECK")
    terminal.until_gone("reporting")
    terminal.until("/CHECK_", "enter: keep", "checkout")
    terminal.press("\r")
    terminal.until("only CHECK (esc: all)")
    assert terminal.running
    terminal.press(DOWN, "\r")
    terminal.until("client backend", "wait event Timeout: PgSleep", "runs: select pg_sleep")
    terminal.press("\x1b")
    terminal.until("only CHECK")
    terminal.press("\x1b")
    terminal.until("reporting", "pool")


def test_interval_grows_and_shrinks_by_keys(shop: Scene, watch: Watch) -> None:
    terminal = watch(columns=120)
    terminal.until("every 0.2 s")
    for key, wanted in (("+", "0.5"), ("+", "1"), ("+", "2"), ("-", "1"), ("-", "0.5"), ("-", "0.2"), ("-", "0.2")):
        terminal.press(key)
        terminal.until(f"a poll every {wanted} s", f"every {wanted} s")


def test_statements_are_wrapped_by_a_key(shop: Scene, watch: Watch) -> None:
    names = ", ".join(f"1 as column_{number}" for number in range(20))
    shop.client(f"select {names}", application_name="wide")
    terminal = watch(columns=80, lines=40)
    terminal.until("wide")
    assert "column_19" not in terminal.text
    terminal.press("v")
    terminal.until("column_19")
    terminal.press("v")
    terminal.until_gone("column_19")


def test_equal_waiters_are_one_row_until_ungrouped(shop: Scene, watch: Watch) -> None:
    shop.client("lock table orders in exclusive mode", application_name="holder")
    waiters = [shop.client(application_name="shop-web").block("insert into orders values (5, 5)") for _ in range(5)]
    terminal = watch(columns=120)
    terminal.until("5 sessions blocked", "5 ×", "shop-web")
    terminal.press("g")
    terminal.until(*(str(each.pid) for each in waiters))
    assert "5 ×" not in terminal.text


def test_columns_are_ordered_at_100_characters(shop: Scene, watch: Watch) -> None:
    shop.client("lock table orders in exclusive mode", application_name="holder")
    shop.client(application_name="shop-web").block("insert into orders values (5, 5)")
    terminal = watch(columns=100)
    terminal.until("1 session blocked", '"holder"', '"shop-web"')
    assert "WHAT" not in headings(terminal)
    terminal.resize(200, 30)
    terminal.until("WHAT")
    assert headings(terminal).index("WHO") < headings(terminal).index("WHAT")


def test_rates_count_the_transactions_of_others(shop: Scene, watch: Watch) -> None:
    terminal = watch(columns=120)
    terminal.until("transactions/s", "reporting")
    busy = shop.client(autocommit=True)

    def is_counted() -> bool:
        for _ in range(200):
            busy.run("select count(*) from orders")
        found = re.search(r"([\d,]+) transactions/s", terminal.text)
        return found is not None and int(found[1].replace(",", "")) > 50

    terminal.until_so(is_counted, "more than 50 transactions/s")


def test_deadlocks_are_counted(shop: Scene, watch: Watch) -> None:
    shop.admin.execute("insert into orders values (2, 0)")
    terminal = watch(columns=120)
    terminal.until("deadlocks 0")
    one, two = shop.client("update orders set v = 1 where id = 1"), shop.client("update orders set v = 1 where id = 2")
    one.block("update orders set v = 2 where id = 2")
    two.start("update orders set v = 2 where id = 1")
    for each in (one, two):
        with suppress(psycopg.errors.DeadlockDetected):
            each.finish(PATIENCE)
    # The server counts it with the end of the transaction that it has aborted.
    for each in (one, two):
        each.run("rollback")
    terminal.press("1")
    terminal.until("deadlocks 1")


# Terminals, locales, hostile names


@pytest.fixture(scope="session")
def latin1(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a terminal in Latin-1, in a locale of the test's own."""
    if shutil.which("localedef") is None or not Path("/usr/share/i18n/charmaps/ISO-8859-1.gz").exists():
        pytest.skip("no localedef with its sources on this machine")
    folder = tmp_path_factory.mktemp("locales")
    subprocess.run(["localedef", "-i", "en_US", "-f", "ISO-8859-1", folder / "en_US.ISO-8859-1"], check=True)
    return {"LOCPATH": str(folder), "LC_ALL": "en_US.ISO-8859-1"}


@pytest.fixture
def hostile(scene: Scene) -> Scene:
    scene.admin.execute(f'create table "{HOSTILE_TABLE}" (id int); create table "{WIDE_TABLE}" (id int)')
    scene.role(HOSTILE_NAME, "pg_read_all_data", "pg_write_all_data")
    said = f'select from "{WIDE_TABLE}"'
    scene.client(said, application_name="\x1b[31mevil", user=HOSTILE_NAME)
    scene.client(f'select from "{HOSTILE_TABLE}"')
    scene.client(f'lock table "{HOSTILE_TABLE}" in share mode', application_name="holder")
    return scene


def is_harmless(terminal: Terminal) -> None:
    for said in ("\x1b]0;", "\u202e", "\x1b[31m\u202e", "\x1b[31me"):
        assert said.encode() not in terminal.raw


@pytest.mark.parametrize("columns", [40, 80, 100, 200])
def test_hostile_sessions_stay_in_their_columns(hostile: Scene, watch: Watch, columns: int) -> None:
    terminal = watch(columns=columns, lines=24, NO_COLOR="1")
    terminal.until("No session is blocked", "idle in tx", "holder")
    hostile.client(application_name="waiter").block(f'insert into "{HOSTILE_TABLE}" values (1)')
    terminal.until("1 session blocked", "CLASS")
    terminal.press("1")
    terminal.until("STATE", "holder")
    terminal.press("v")
    terminal.until("holder")
    if columns == 200:
        terminal.until("evil 漢")
    is_harmless(terminal)
    terminal.press("q")
    assert terminal.end() == 0


@pytest.mark.parametrize("encoding", ["latin1", "C"])
def test_other_encodings_show_the_sessions(
    hostile: Scene, watch: Watch, request: pytest.FixtureRequest, encoding: str
) -> None:
    plain = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"}
    environment = request.getfixturevalue("latin1") if encoding == "latin1" else plain
    # xterm would be asked to repeat blanks, which the screen of these tests does not know.
    terminal = watch(columns=200, lines=24, PYTHONUTF8="0", NO_COLOR="1", TERM="screen", **environment)
    terminal.until("No session is blocked", "holder", "STATEMENT")
    terminal.until_so(lambda: b"evil ????????????" in terminal.raw, "a ? for each cell")
    assert (b"Z\xfcrich" in terminal.raw) is (encoding == "latin1")
    is_harmless(terminal)
    hostile.client(application_name="waiter").block(f'insert into "{HOSTILE_TABLE}" values (1)')
    terminal.until("1 session blocked", "waiter")
    terminal.press("q")
    assert terminal.end() == 0


@pytest.mark.long
def test_list_of_sessions_follows_every_size(shop: Scene, watch: Watch) -> None:
    terminal = watch(columns=120, lines=30)
    terminal.until("reporting")
    for columns, lines in ((40, 10), (1, 1), (20, 5), (200, 50)):
        terminal.resize(columns, lines)
        if lines >= 10:
            terminal.until("reporting", "STATE")
    terminal.resize(40, 10)
    terminal.until("reporting", "? help")
    terminal.press("q")
    assert terminal.end() == 0


@pytest.mark.long
def test_role_that_sees_little_lists_what_it_may(shop: Scene, watch: Watch) -> None:
    terminal = watch(dsn=shop.role("watcher"), columns=120)
    terminal.until("BLIND", "STATE", "transactions/s")
    assert "pg_sleep" not in terminal.text
    terminal.press("q")
    assert terminal.end() == 0
