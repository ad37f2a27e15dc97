"""`pgdoctor cancel PID` and `pgdoctor terminate PID`: what a person may not do, is shown, and does."""

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from pgdoctor.demo.throwaway_server import ThrowawayServer
from pgdoctor.journal.location import default_path
from pgdoctor.journal.store import Journal
from pgdoctor.mitigation.audit_records import KINDS, Brakes, read_events, replay_brakes, replay_history
from pgdoctor.mitigation.history import History
from tests.agent.running import RunningAgent
from tests.cli.conftest import RULES
from tests.cli.test_bad_input import complains
from tests.evil import HOSTILE, Decoys
from tests.forked import pgdoctor
from tests.live.terminal import Terminal
from tests.postgres.test_wrapper import ROLE, wrap
from tests.scenes import Client, Scene
from tests.standby import standby_of

pytestmark = pytest.mark.deadline(120)

Prompt = Callable[..., Terminal]


@pytest.fixture
def prompt(scene: Scene) -> Iterator[Prompt]:
    """Type the command at a terminal of 80 columns."""
    opened: list[Terminal] = []

    def start(command: str, *arguments: object, **options: object) -> Terminal:
        given = {"columns": 80, "lines": 40, "PGDOCTOR_DSN": scene.dsn, **options}
        opened.append(Terminal(*map(str, arguments), command=command, **given))  # type: ignore[arg-type]
        return opened[-1]

    yield start
    for each in opened:
        each.close()


def say(scene: Scene, command: str, pid: int, *options: str, dsn: str | None = None) -> tuple[int, str]:
    """The exit status and the output of a command that asks nothing."""
    done = pgdoctor(command, str(pid), "--yes", "--dsn", dsn or scene.dsn, *options)
    return done.returncode, " ".join((done.stdout + done.stderr).split())


def until(terminal: Terminal, *words: str) -> None:
    """Until all of this is on the screen, however it is wrapped there."""
    terminal.until_so(lambda: all(each in " ".join(terminal.text.split()) for each in words), " and ".join(words))


def exit_status(terminal: Terminal) -> int:
    return terminal._process.wait(40)


# Whom no person may signal


def test_a_process_of_the_server_is_refused(scene: Scene) -> None:
    found = scene.admin.execute("select pid, backend_type from pg_stat_activity where backend_type <> 'client backend'")
    for pid, kind in found.fetchall():
        status, said = say(scene, "terminate", pid)
        assert (status, said) == (1, f"terminate {pid}: no, it is {kind}: only sessions of clients are signalled.")


def test_another_pgdoctor_is_refused(scene: Scene) -> None:
    other = scene.client("select 1", application_name="pgdoctor")
    assert say(scene, "terminate", other.pid) == (1, f"terminate {other.pid}: no, it is another pgdoctor's session.")


def test_a_commit_that_waits_for_its_standby_is_refused(own_server: Callable[..., ThrowawayServer]) -> None:
    with Scene(own_server(settings={"synchronous_standby_names": "nobody"}).dsn) as scene:
        scene.admin.execute("create table t (id int)")
        hanging = scene.client("insert into t values (1)").start("commit")
        scene.wait_until(lambda: "SyncRep" in hanging.shown())
        for command in ("cancel", "terminate"):
            status, said = say(scene, command, hanging.pid)
            assert status == 1
            assert "waits for a synchronous standby: a signal would break durability" in said
        assert "SyncRep" in hanging.shown()


@pytest.mark.long
def test_a_standby_is_refused(own_server: Callable[..., ThrowawayServer]) -> None:
    primary = own_server()
    with standby_of(primary) as standby:
        dsn = make_conninfo(primary.dsn, port=standby.port)
        with psycopg.connect(dsn, autocommit=True) as victim:
            done = pgdoctor("terminate", str(victim.info.backend_pid), "--yes", "--dsn", dsn)
            victim.execute("select 1")
        assert done.returncode == 1
        assert "this server is a standby" in done.stdout


def test_a_hidden_session_is_refused(scene: Scene, holder: Client) -> None:
    status, said = say(scene, "terminate", holder.pid, dsn=scene.role("blind", "pg_signal_backend"))
    assert status == 1
    assert "hidden from our role: grant pg_monitor" in said


def test_a_cancel_of_an_idle_session_is_refused(scene: Scene, holder: Client) -> None:
    status, said = say(scene, "cancel", holder.pid)
    assert status == 1
    assert said.endswith("it is idle in transaction, and does not react to a cancel; terminate ends the session.")
    assert holder.run("select 1") == [(1,)]


def test_a_session_that_is_not_there_is_one_line(scene: Scene) -> None:
    gone = scene.client("select 1")
    gone.close()
    scene.wait_until(lambda: gone.shown() == "no such session")
    assert say(scene, "cancel", gone.pid) == (1, f"cancel {gone.pid}: no, there is no such session at this server.")


def test_a_superusers_session_has_sql_for_a_superuser(scene: Scene, holder: Client, waiter: Client) -> None:
    status, said = say(scene, "terminate", holder.pid, dsn=scene.role("acting", "pg_monitor", "pg_signal_backend"))
    assert status == 1
    assert "our role may not signal this superuser's session; run as a superuser" in said
    text = said[said.index("SELECT") :]
    assert scene.admin.execute(text.encode()).fetchall() == [(f"signalled: terminate {holder.pid}",)]
    waiter.finish()


def test_without_a_terminal_it_needs_yes(scene: Scene, holder: Client) -> None:
    done = pgdoctor("terminate", str(holder.pid), "--dsn", scene.dsn)
    complains(done, 2, "needs a terminal for its confirmation; in scripts give --yes")
    assert holder.run("select 1") == [(1,)]


@pytest.mark.parametrize("pid", ["0", "-1", "x", "99999999999"])
def test_a_wrong_pid_is_a_wrong_command(scene: Scene, pid: str) -> None:
    assert pgdoctor("cancel", "--dsn", scene.dsn, "--", pid).returncode == 2


# The confirmation


def test_no_is_the_default(prompt: Prompt, holder: Client, waiter: Client) -> None:
    terminal = prompt("terminate", holder.pid)
    until(terminal, "costs")
    terminal.press("\r")
    assert exit_status(terminal) == 1
    until(terminal, "not sent.")
    assert holder.run("select 1") == [(1,)]
    assert waiter.busy


def test_command_shows_the_session_and_signals_it(scene: Scene, prompt: Prompt, holder: Client, waiter: Client) -> None:
    terminal = prompt("terminate", holder.pid)
    until(
        terminal,
        f"terminate {holder.pid} at {scene.admin.info.dbname}",
        "idle in transaction, its transaction open",
        "last ran: update orders set v = ? where id = ?",
        "it is idle_in_transaction on public.orders",
        f"frees 1 session at once (forecast): {waiter.pid}; costs a",
    )
    assert "4711" not in terminal.text
    terminal.press("y\r")
    waiter.finish(40)
    until(terminal, f"terminate {holder.pid}: released 1 session in")
    assert exit_status(terminal) == 0


def test_it_is_about_the_transaction_that_was_shown(prompt: Prompt, holder: Client, waiter: Client) -> None:
    terminal = prompt("terminate", holder.pid)
    until(terminal, "costs")
    holder.run("commit")
    waiter.finish()
    holder.run("select 1")
    terminal.press("y\r")
    until(terminal, "not sent: the session has moved on since it was shown")
    assert exit_status(terminal) == 1
    assert holder.run("select 1") == [(1,)]


HOSTILE_NAME = "evil\x1b[31m\x1b]0;title\x07‮ name"


def test_hostile_names_do_not_reach_the_terminal(scene: Scene, prompt: Prompt) -> None:
    role = "role \u202e\u200b\x1b[2J"
    scene.role(role)
    scene.admin.execute(b'create table "t\x1b[31m" ()')
    victim = scene.client(
        f"select 'secret' as \"{HOSTILE_NAME}\" /* \x1b[31m */", user=role, application_name="漢字 \x1b[31m"
    )
    terminal = prompt("terminate", victim.pid)
    until(terminal, "warning: no session waits for it", "costs")
    terminal.press("n\r")
    assert exit_status(terminal) == 1
    for harmful in ("\x1b[31m", "\x1b]0;", "\x1b[2J", "\x07", "\u202e", "\u200b", "secret"):
        assert harmful.encode() not in terminal.raw


@pytest.mark.parametrize(
    ("options", "config", "warning"),
    [
        ({"application_name": "psql"}, "", "protected: application_name psql is a backup or an interactive tool"),
        ({"application_name": "x pgdoctor:protect"}, "", "protected: its application_name contains pgdoctor:protect"),
        ({}, '[[mitigation.protect]]\nstate = ["idle in transaction"]\n', "protected: state idle in transaction"),
    ],
    ids=["shipped", "marker", "configured"],
)
def test_protections_are_warnings_for_a_person(
    scene: Scene, tmp_path: Path, options: dict[str, str], config: str, warning: str
) -> None:
    (tmp_path / "pgdoctor.toml").write_text(f"{RULES}\n{config}")
    victim = scene.client("select 1", **options)
    status, said = say(scene, "terminate", victim.pid, "--config", str(tmp_path / "pgdoctor.toml"))
    assert f"warning: {warning}" in said
    assert status == 0
    with pytest.raises(psycopg.OperationalError):
        victim.run("select 1")


# What it does


def test_a_cancel_ends_a_statement_that_no_session_waits_for(scene: Scene) -> None:
    victim = scene.client("select 1").start("select pg_sleep(60)")
    status, said = say(scene, "cancel", victim.pid)
    assert "frees no session" in said
    assert f"cancel {victim.pid}: the statement has ended in" in said
    assert status == 0
    with pytest.raises(psycopg.errors.QueryCanceled):
        victim.finish()
    victim.run("rollback")


@pytest.mark.long
def test_a_cancel_inside_a_savepoint_frees_no_session_and_says_so(scene: Scene, holder: Client, waiter: Client) -> None:
    holder.run("savepoint a")
    holder.start("select pg_sleep(60)")
    status, said = say(scene, "cancel", holder.pid)
    assert status == 1
    assert "sent, but the sessions still wait after" in said
    assert f"next: pgdoctor terminate {holder.pid}" in said
    assert waiter.busy


@pytest.mark.long
def test_a_session_that_does_not_end_is_stuck(scene: Scene, holder: Client, waiter: Client) -> None:
    os.kill(holder.pid, signal.SIGSTOP)
    try:
        status, said = say(scene, "terminate", holder.pid)
    finally:
        os.kill(holder.pid, signal.SIGCONT)
    assert status == 1
    assert "has not ended yet: check it on the server, and never use SIGKILL" in said


def test_it_acts_beside_an_agent_that_leads(scene: Scene, tmp_path: Path, holder: Client, waiter: Client) -> None:
    """Leadership is for machines: a person need not wait until an agent gives it back."""
    armed = RULES.replace('min_wait = "0s"', 'min_wait = "1h"')
    with RunningAgent(scene.dsn, tmp_path / "pgdoctor.toml", more=armed, arguments=("--enforce",)) as agent:
        agent.wait_for("leader", 1, 40)
        status, said = say(scene, "terminate", holder.pid)
        assert (status, "released 1 session" in said) == (0, True)
        waiter.finish(20)


# For programs


def say_json(scene: Scene, command: str, pid: int, *options: str) -> tuple[int, dict[str, Any]]:
    """The exit status, and the one object on stdout."""
    done = pgdoctor(command, str(pid), "--yes", "--format", "json", "--dsn", scene.dsn, *options)
    return done.returncode, json.loads(done.stdout)


def test_json_says_what_came_of_it(scene: Scene, holder: Client, waiter: Client) -> None:
    status, said = say_json(scene, "terminate", holder.pid)
    waiter.finish()
    assert (status, said["outcome"], said["released"], said["still_waiting"]) == (0, "released", 1, 0)
    assert (said["schema_version"], said["signal"], said["pid"]) == (1, "terminate", holder.pid)
    assert (said["class"], said["relation"]) == ("idle_in_transaction", "public.orders")
    assert (said["frees_at_once"], said["recorded"], said["refusal"]) == (1, True, None)
    assert said["server"]["database"] == scene.admin.info.dbname
    assert said["statement"] == "update orders set v = ? where id = ?"


def test_json_says_why_nothing_was_sent(scene: Scene, holder: Client) -> None:
    status, said = say_json(scene, "cancel", holder.pid)
    assert (status, said["outcome"], said["recorded"]) == (1, "refused", None)
    assert "does not react to a cancel" in said["refusal"]
    assert pgdoctor("mitigate", "disarm", "--reason", "failover test", "--dsn", scene.dsn).returncode == 0
    status, said = say_json(scene, "terminate", holder.pid)
    assert (status, said["outcome"]) == (1, "stopped")
    assert "failover test" in said["stopped_by"][0]
    gone = scene.client("select 1")
    gone.close()
    scene.wait_until(lambda: gone.shown() == "no such session")
    status, said = say_json(scene, "terminate", gone.pid)
    assert (status, said["outcome"]) == (1, "no_such_session")
    assert holder.run("select 1") == [(1,)]


def test_json_is_alone_on_stdout_where_a_person_is_asked(scene: Scene, prompt: Prompt, holder: Client) -> None:
    terminal = prompt("terminate", holder.pid, "--format", "json")
    terminal.press("n\r")
    terminal.until_so(lambda: b'"outcome":"not_confirmed"' in terminal.raw, "the outcome")
    assert exit_status(terminal) == 1
    assert "costs" in terminal.said
    assert "costs" not in terminal.text


# By the functions of `pgdoctor setup --wrapper` alone


@pytest.fixture
def wrapped(scene: Scene) -> str:
    """The DSN of a role that may signal only through the functions; there is a table `orders` with one row."""
    scene.admin.execute("create table orders (id int primary key, v int)")
    scene.admin.execute("insert into orders values (1, 0)")
    wrap(scene)
    scene.role("app", "all on orders")
    scene.admin.execute(f"alter role {ROLE} set deadlock_timeout = '10ms'")
    return make_conninfo(scene.dsn, user=ROLE, password="set by the test")


def blocking(scene: Scene, **options: Any) -> Client:
    """A session of another user for which one waits."""
    holder = scene.client("update orders set v = 1 where id = 1", user="app", **options)
    scene.client(user="app", autocommit=True).block("update orders set v = 2 where id = 1")
    return holder


def test_the_functions_terminate_an_idle_transaction(scene: Scene, wrapped: str) -> None:
    holder = blocking(scene)
    status, said = say(scene, "terminate", holder.pid, dsn=wrapped)
    assert (status, "released 1 session" in said) == (0, True), said
    with pytest.raises(psycopg.OperationalError):
        holder.run("select 1")


def test_the_functions_cancel_a_statement(scene: Scene, wrapped: str) -> None:
    holder = blocking(scene).start("select pg_sleep(60)")
    status, said = say(scene, "cancel", holder.pid, dsn=wrapped)
    assert (status, "released 1 session" in said) == (0, True), said
    with pytest.raises(psycopg.errors.QueryCanceled):
        holder.finish()


def test_the_functions_act_beside_an_agent_that_leads(scene: Scene, tmp_path: Path, wrapped: str) -> None:
    armed = RULES.replace('min_wait = "0s"', 'min_wait = "1h"')
    with RunningAgent(wrapped, tmp_path / "pgdoctor.toml", more=armed, arguments=("--enforce",)) as agent:
        agent.wait_for("leader", 1, 40)
        assert say(scene, "terminate", blocking(scene).pid, dsn=wrapped)[0] == 0


def test_refusals_of_the_functions_are_known_beforehand(scene: Scene, wrapped: str) -> None:
    alone = scene.client("select 1", user="app")
    status, said = say(scene, "terminate", alone.pid, dsn=wrapped)
    assert status == 1
    assert "the functions of setup --wrapper signal only a session that another one waits for" in said
    spared = blocking(scene, application_name="pg_dump")
    status, said = say(scene, "terminate", spared.pid, dsn=wrapped)
    assert (status, "the functions of setup --wrapper refuse it: it is a backup" in said) == (1, True), said
    assert spared.run("select 1") == [(1,)]


def test_a_wait_that_is_too_short_for_the_functions_is_named(scene: Scene, wrapped: str) -> None:
    scene.admin.execute(f"alter role {ROLE} set deadlock_timeout = '10min'")
    holder = blocking(scene)
    status, said = say(scene, "terminate", holder.pid, dsn=wrapped)
    assert status == 1
    assert "its wait must be longer than deadlock_timeout" in said
    assert holder.run("select 1") == [(1,)]


# The operator's brake


def test_disarm_stops_an_operator_without_an_override(scene: Scene, holder: Client, waiter: Client) -> None:
    assert pgdoctor("mitigate", "disarm", "--reason", "failover test", "--dsn", scene.dsn).returncode == 0
    status, said = say(scene, "terminate", holder.pid)
    assert status == 1
    assert "failover test" in said
    assert "an operator has stopped all signals. Override with --despite-disarm." in said
    assert holder.run("select 1") == [(1,)]
    status, said = say(scene, "terminate", holder.pid, "--despite-disarm")
    assert status == 0
    waiter.finish()
    assert "despite: disarmed by" in " ".join(pgdoctor("mitigate", "audit").stdout.split())


@pytest.mark.parametrize(
    "brake", ["maintenance", *(pytest.param(each, marks=pytest.mark.long) for each in ("file", "another role"))]
)
def test_every_brake_stops_a_person(scene: Scene, tmp_path: Path, holder: Client, brake: str) -> None:
    options: tuple[str, ...] = ()
    match brake:
        case "maintenance":
            done = pgdoctor("mitigate", "maintenance", "--for", "30m", "--reason", "index", "--dsn", scene.dsn)
        case "file":
            (tmp_path / "stop").touch()
            (tmp_path / "pgdoctor.toml").write_text(f'[mitigation]\nkill_switch_file = "{tmp_path / "stop"}"\n')
            options = ("--config", str(tmp_path / "pgdoctor.toml"))
            done = None
        case _:
            agent = scene.role("acting", "pg_monitor", "pg_signal_backend")
            done = pgdoctor("mitigate", "disarm", "--reason", "x", "--dsn", agent)
    assert done is None or done.returncode == 0
    status, said = say(scene, "terminate", holder.pid, *options)
    assert (status, "Override with --despite-disarm" in said) == (1, True), said
    assert holder.run("select 1") == [(1,)]


def test_a_brake_that_is_pulled_while_a_person_reads_is_heard(
    scene: Scene, prompt: Prompt, holder: Client, waiter: Client
) -> None:
    terminal = prompt("terminate", holder.pid)
    until(terminal, "costs")
    assert pgdoctor("mitigate", "disarm", "--reason", "just now", "--dsn", scene.dsn).returncode == 0
    terminal.press("y\r")
    until(terminal, "signals were stopped in the meantime", "just now")
    assert exit_status(terminal) == 1
    assert holder.run("select 1") == [(1,)]


# The audit


def test_it_is_on_record_and_spends_nothing_of_a_machine(scene: Scene, holder: Client, waiter: Client) -> None:
    assert say(scene, "terminate", holder.pid, "--by", "alice")[0] == 0
    waiter.finish()
    lines = [json.loads(each) for each in pgdoctor("mitigate", "audit", "--format", "json").stdout.splitlines()]
    before, after = [each for each in lines if each["kind"].startswith("person")]
    assert (before["kind"], before["by"], before["signal"]) == ("person_intent", "alice", "terminate")
    assert before["victim"]["pid"] == holder.pid
    assert (after["kind"], after["outcome"], after["released"]) == ("person_outcome", "released", 1)
    assert before["decision"] == after["decision"]
    table = pgdoctor("mitigate", "audit").stdout
    assert "by alice" in " ".join(table.split())


def test_mitigation_learns_nothing_from_it(scene: Scene, holder: Client, waiter: Client) -> None:
    assert say(scene, "terminate", holder.pid)[0] == 0
    journal = Journal.open(default_path(os.environ))
    told = list(read_events(journal.fetch_records(None, kinds=KINDS)))
    journal.close()
    assert len(told) == 2
    assert replay_history(told) == History()
    assert replay_brakes(told) == Brakes()


def test_without_a_journal_it_acts_and_says_so(scene: Scene, tmp_path: Path, holder: Client, waiter: Client) -> None:
    (tmp_path / "pgdoctor.toml").write_text('[journal]\npath = "/proc/nowhere/journal.db"\n')
    status, said = say(scene, "terminate", holder.pid, "--config", str(tmp_path / "pgdoctor.toml"))
    assert status == 0
    assert "warning: this is not recorded in the journal /proc/nowhere/journal.db" in said
    waiter.finish()


@pytest.mark.long
@pytest.mark.deadline(180)
def test_no_decoy_is_called(scene: Scene, decoys: Decoys) -> None:
    dsn = scene.role("acting", "pg_monitor", "pg_signal_backend")
    scene.role("app")
    decoys.hand_over(f"database {scene.admin.info.dbname}", HOSTILE)
    victim = scene.client(
        "select 1",
        user="app",
        options="-c search_path=pg_catalog -c idle_in_transaction_session_timeout=0 -c statement_timeout=0",
    )
    assert say(scene, "terminate", victim.pid, dsn=dsn)[0] == 0
    assert decoys.called() == []
