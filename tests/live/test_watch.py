"""`pgdoctor watch` in a real terminal, over a real server with sessions that really block."""

import os
import re
import signal
from collections.abc import Callable

import pytest

from pgdoctor.demo.throwaway_server import ThrowawayServer
from tests.cli.test_bad_input import complains
from tests.forked import pgdoctor
from tests.live.terminal import DOWN, END, HOME, UP, Terminal
from tests.scenes import Scene

pytestmark = pytest.mark.deadline(120)

HEADINGS = ["PID", "BLOCKS", "WAIT", "AGE", "CLASS"]


class Incident:
    """An idle transaction, an ALTER that queues behind it, two readers behind that."""

    def __init__(self, scene: Scene) -> None:
        scene.admin.execute("create table orders (id int primary key, v int); insert into orders values (1, 0)")
        self.scene = scene
        self.idle = scene.client("select from orders", application_name="reporting")
        self.alter = scene.client(application_name="deploy").block("alter table orders add c int")
        self.readers = [scene.client(application_name="checkout").block("select from orders") for _ in range(2)]


@pytest.fixture
def incident(scene: Scene) -> Incident:
    return Incident(scene)


Watch = Callable[..., Terminal]


def listed(terminal: Terminal) -> list[tuple[int, bool]]:
    """The sessions below the headings, from top to bottom, and whether each is the chosen one."""
    return [
        (int(found[1]), terminal.is_reversed(4 + place, found.start(1)))
        for place, line in enumerate(terminal.shown[4:])
        if (found := re.match(r" *(\d+) ", line))
    ]


def pids(terminal: Terminal) -> list[int]:
    return [pid for pid, _ in listed(terminal)]


def chosen(terminal: Terminal) -> int | None:
    return next((pid for pid, is_chosen in listed(terminal) if is_chosen), None)


def test_screen_shows_blockers_waiters_and_advice(incident: Incident, watch: Watch) -> None:
    terminal = watch()
    terminal.until("3 sessions blocked by 1 root blocker", f"→ cancel {incident.alter.pid} frees 2 sessions at once")
    readers = {each.pid for each in incident.readers}
    # The screen may be read in the middle of a refresh.
    terminal.until_so(lambda: pids(terminal)[:2] == [incident.idle.pid, incident.alter.pid])
    terminal.until_so(lambda: set(pids(terminal)[2:]) == readers)
    assert terminal.shown[4].split()[:5] == HEADINGS
    assert terminal.style("3 sessions").fg == "red"
    incident.idle.run("commit")
    incident.alter.finish()
    incident.alter.run("commit")
    for each in incident.readers:
        each.finish()
    terminal.until("No session is blocked")
    terminal.until("STATE")
    terminal.press("q")
    assert terminal.end() == 0
    assert terminal.said == ""


def test_keys_sort_choose_show_and_freeze(incident: Incident, watch: Watch) -> None:
    terminal = watch()
    terminal.until("3 sessions blocked")
    everybody = {incident.idle.pid, incident.alter.pid, *(each.pid for each in incident.readers)}
    for key, order, first in (
        ("w", "wait", incident.alter.pid),
        ("a", "age", incident.idle.pid),
        ("b", "blocked", incident.idle.pid),
        ("l", "class", incident.idle.pid),
        ("t", "tree", incident.idle.pid),
    ):
        terminal.press(key)
        terminal.until(f"by {order}")
        terminal.until_so(
            lambda first=first: pids(terminal)[:1] == [first] and set(pids(terminal)) == everybody, f"all by {order}"
        )
    assert chosen(terminal) is None
    for keys, at in (((DOWN,), 0), ((DOWN, "n"), 2), ((UP,), 1), (("p",), 0), ((END,), 3), ((HOME, DOWN), 1)):
        terminal.press(*keys)
        terminal.until_so(lambda at=at: chosen(terminal) == pids(terminal)[at], f"row {at} chosen by {keys}")
    terminal.press("\r")
    terminal.until(f"{incident.alter.pid}  migration", "runs: alter table orders add c", "wants AccessExclusiveLock")
    awaited = f"for AccessExclusiveLock on public.orders, for {incident.idle.pid}"
    assert re.search(f"has waited .* {awaited}", terminal.text)
    terminal.press("\x1b")
    terminal.until("BLOCKS")
    terminal.press(" ")
    terminal.until("FROZEN")
    incident.scene.client().block("select from orders")
    terminal.press("?")
    terminal.until("choose a session")
    terminal.press("?")
    terminal.until("FROZEN", "3 sessions blocked")
    terminal.press(" ")
    terminal.until("4 sessions blocked")
    assert "FROZEN" not in terminal.text


@pytest.mark.long
def test_ended_session_is_not_chosen_nor_replaced(incident: Incident, watch: Watch) -> None:
    terminal = watch()
    terminal.until("3 sessions blocked")
    terminal.press(END)
    terminal.until_so(lambda: chosen(terminal) is not None)
    gone = next(each for each in incident.readers if each.pid == chosen(terminal))
    gone.close()
    terminal.until("2 sessions blocked")
    # The screen is written line by line.
    terminal.until_so(lambda: chosen(terminal) is None, "no choice")
    terminal.press("k")
    terminal.until("choose a session to terminate first")
    assert terminal.running


@pytest.mark.long
@pytest.mark.parametrize(("columns", "lines"), [(40, 12), (80, 24), (200, 50), (20, 5), (1, 1)])
def test_it_fits_and_follows_every_size(incident: Incident, watch: Watch, columns: int, lines: int) -> None:
    terminal = watch(columns=120, lines=30)
    terminal.until("3 sessions blocked")
    terminal.resize(columns, lines)
    wanted = "3 sessions blocked"[:columns] if columns < 40 else "3 sessions blocked by"
    if lines > 1:
        terminal.until_so(lambda: terminal.shown[0].startswith(wanted[: columns - 1]), "the first line")
    if columns >= 40:
        terminal.until(str(incident.idle.pid), "q"[:columns])
    terminal.resize(120, 30)
    terminal.until("STATEMENT", "q quit")
    terminal.press("q")
    assert terminal.end() == 0


@pytest.mark.long
def test_a_server_that_is_lost_is_said_to_be_and_comes_back(
    own_server: Callable[..., ThrowawayServer], watch: Watch
) -> None:
    server = own_server()
    with Scene(server.dsn) as scene:
        incident = Incident(scene)
        terminal = watch(dsn=server.dsn)
        terminal.until("3 sessions blocked")
    server.halt("immediate")
    terminal.until("DOWN: ", "the list below is")
    assert terminal.style("DOWN").fg == "red"
    assert str(incident.idle.pid) in terminal.text or "Nobody" in terminal.text
    server.start()
    terminal.until("No session is blocked")
    assert "DOWN" not in terminal.text
    terminal.press("q")
    assert terminal.end() == 0


@pytest.mark.long
def test_a_server_that_hangs_is_said_to_and_keys_are_obeyed(incident: Incident, watch: Watch) -> None:
    terminal = watch()
    terminal.until("3 sessions blocked")
    [(backend,)] = incident.scene.admin.execute(
        "select pid from pg_stat_activity where application_name = 'pgdoctor' and datname = current_database()"
    ).fetchall()
    os.kill(backend, signal.SIGSTOP)
    try:
        terminal.until("NO ANSWER for")
        terminal.press("?")
        terminal.until("choose a session")
        terminal.press("?", "q")
        assert terminal.end() == 0
    finally:
        os.kill(backend, signal.SIGCONT)


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_however_it_ends_the_terminal_is_given_back(scene: Scene, watch: Watch, number: signal.Signals) -> None:
    terminal = watch()
    terminal.until("No session is blocked")
    terminal.send(number)
    assert terminal.end() == 0
    assert terminal.said == ""


@pytest.mark.long
def test_it_ends_when_no_user_is_at_the_other_end_of_the_terminal(scene: Scene, watch: Watch) -> None:
    """Without a word from the system: who was started by `setsid` or `nohup` gets no SIGHUP."""
    terminal = watch(controls=False)
    terminal.until("No session is blocked")
    assert terminal.vanish() == 0
    assert terminal.said == ""


@pytest.mark.long
def test_a_terminal_of_no_size_is_of_the_usual_one(incident: Incident, watch: Watch) -> None:
    terminal = watch(columns=80, lines=24, sized=False)
    terminal.until("3 sessions blocked", "k terminate")


def test_arrows_of_either_kind_choose_and_a_mouse_says_nothing(incident: Incident, watch: Watch) -> None:
    terminal = watch()
    terminal.until("3 sessions blocked")
    for sent, at in (("\x1bOB", 0), ("\x1b[B", 1), ("\x1b[M qq\x1bOB", 2), ("\x1b[A", 1)):
        terminal.send_bytes(sent)
        terminal.until_so(lambda at=at: chosen(terminal) == pids(terminal)[at], f"row {at} chosen")


def test_control_c_ends_it(scene: Scene, watch: Watch) -> None:
    terminal = watch()
    terminal.until("No session is blocked")
    terminal.press("\x03")
    assert terminal.end() == 0


def test_size_is_that_of_the_terminal_not_of_the_environment(incident: Incident, watch: Watch) -> None:
    terminal = watch(columns=200, COLUMNS="60", LINES="10")
    terminal.until("3 sessions blocked", "terminate  t w b a l")
    assert terminal.text.rstrip().splitlines()[-1].strip().startswith("? help")


@pytest.mark.long
def test_hostile_names_do_not_reach_the_terminal(scene: Scene, watch: Watch) -> None:
    scene.admin.execute('create table "\x1b[31m‮evil" (); create table "漢字漢字" ()')
    for name in ('"\x1b[31m‮evil"', '"漢字漢字"'):
        scene.client(f"lock table {name}", application_name="x" * 60)
        scene.client().block(f"select from {name}")
    terminal = watch(columns=200)
    terminal.until("2 sessions blocked", "evil", "漢")
    assert b"\x1b[31m\xe2\x80\xae" not in terminal.raw
    assert "\u202e".encode() not in terminal.raw


@pytest.mark.long
def test_without_colours_nothing_is_coloured(incident: Incident, watch: Watch) -> None:
    terminal = watch(NO_COLOR="1")
    terminal.until("3 sessions blocked")
    assert {cell.fg for line in terminal._screen.buffer.values() for cell in line.values()} == {"default"}


@pytest.mark.parametrize(("name", "arrow"), [("xx_XX.UTF-8", "→"), ("xx_XX.ISO-8859-1", "")])
def test_locale_that_is_not_installed_ends_nothing(incident: Incident, watch: Watch, name: str, arrow: str) -> None:
    """As after ssh, which hands the locale of another machine on."""
    terminal = watch(LC_ALL=name)
    terminal.until("3 sessions blocked", arrow)
    terminal.press("q")
    assert terminal.end() == 0
    assert terminal.said == ""


@pytest.mark.long
def test_a_locale_without_our_signs_gets_others(incident: Incident, watch: Watch) -> None:
    terminal = watch(LC_ALL="POSIX", PYTHONCOERCECLOCALE="0", PYTHONUTF8="0")
    terminal.until("3 sessions blocked")
    terminal.press("q")
    assert terminal.end() == 0


def test_a_pipe_gets_one_poll(incident: Incident) -> None:
    result = pgdoctor("watch", "--dsn", incident.scene.dsn)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("3 sessions blocked by 1 root blocker")
    assert "└─" in result.stdout
    assert "\x1b" not in result.stdout


@pytest.mark.long
@pytest.mark.parametrize("term", ["dumb", "", "no-such-terminal"])
def test_a_terminal_that_cannot_be_drawn_on_gets_one_poll(incident: Incident, watch: Watch, term: str) -> None:
    # As tall as what is printed, with the SQL to paste.
    terminal = watch(TERM=term, lines=100)
    terminal.until("3 blocked", "└─")
    assert terminal._process.wait(20) == 0
    assert b"\x1b" not in terminal.raw


def test_a_server_that_is_not_there_is_one_line(watch: Watch, scene: Scene) -> None:
    terminal = watch(dsn="host=127.0.0.1 port=1")
    assert terminal.end() == 3
    assert "refused" in terminal.said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--interval", "1"), "a duration with a unit"),
        (("--interval", "1ms"), "at least 200ms"),
        (("--config", "/nowhere.toml"), "/nowhere.toml"),
    ],
)
def test_wrong_options_are_one_line(scene: Scene, arguments: tuple[str, ...], words: str) -> None:
    complains(pgdoctor("watch", "--dsn", scene.dsn, *arguments), 2, words)
