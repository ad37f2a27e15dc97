"""The keys c and k: what `pgdoctor cancel PID` and `pgdoctor terminate PID` do, and a yes before it."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from pgdoctor.cli._mitigate_operations import execute_plan_over
from pgdoctor.cli._watch_actions import WatchActions
from pgdoctor.config.config import load_config
from pgdoctor.journal.keeper import Keeper
from pgdoctor.mitigation.plan import OnlySession
from pgdoctor.postgres.connection import Connection
from pgdoctor.render.live.view import ViewQuestion
from tests.cli.conftest import RULES
from tests.forked import pgdoctor
from tests.leading import take_the_lead
from tests.live.terminal import DOWN, Terminal
from tests.scenes import Client, Scene

pytestmark = pytest.mark.deadline(120)

Watch = Callable[..., Terminal]


@pytest.fixture
def holder(scene: Scene) -> Client:
    """Is idle in its transaction and holds a row up."""
    scene.admin.execute("create table orders (id int primary key, v int); insert into orders values (1, 0)")
    return scene.client("update orders set v = 4711 where id = 1")


@pytest.fixture
def waiter(scene: Scene, holder: Client) -> Client:
    return scene.client().block("update orders set v = 4712 where id = 1")


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    file = tmp_path / "pgdoctor.toml"
    file.write_text(f'{RULES}\n[journal]\npath = "{tmp_path / "journal.db"}"\n')
    return file


def shows(terminal: Terminal, *words: str) -> None:
    """Until all of this is on the screen, however it is wrapped there."""
    terminal.until_so(lambda: all(each in " ".join(terminal.text.split()) for each in words), " and ".join(words))


# Whom no key signals


def test_a_yes_is_of_the_transaction_that_was_asked_about(scene: Scene, holder: Client, waiter: Client) -> None:
    """Until a user has read it and said yes, the session may do something else, and hold up others with that."""
    cutting = WatchActions(scene.dsn, load_config(None))
    question = asyncio.run(cutting.ask(holder.pid, "terminate"))
    assert isinstance(question, ViewQuestion)
    holder.run("commit")
    waiter.finish()
    scene.admin.execute("insert into orders values (2, 0)")
    holder.run("update orders set v = 1 where id = 2")
    scene.client().block("update orders set v = 2 where id = 2")
    said = " ".join(asyncio.run(cutting.act(question)))
    assert said == f"terminate {holder.pid}: not sent: the session has moved on since it was shown."
    assert holder.run("select 1") == [(1,)]


def test_read_only_signals_no_session(holder: Client, waiter: Client, watch: Watch) -> None:
    terminal = watch("--read-only")
    terminal.until("1 session blocked")
    terminal.press(DOWN, "k")
    shows(terminal, f"terminate {holder.pid}: no, this is watch --read-only.")
    terminal.press("y", "y")
    terminal.until("BLOCKS")
    assert holder.run("select 1") == [(1,)]
    assert waiter.busy


def test_a_cancel_of_an_idle_session_is_refused(holder: Client, waiter: Client, watch: Watch) -> None:
    terminal = watch(columns=80)
    terminal.until("1 session blocked")
    terminal.press(DOWN, "c")
    shows(terminal, f"cancel {holder.pid}: no, it is idle in transaction", "terminate ends the session")
    terminal.press("y")
    terminal.until("BLOCKS")
    assert holder.run("select 1") == [(1,)]
    assert waiter.busy


def test_a_disarm_is_not_overridden_by_a_key(scene: Scene, holder: Client, waiter: Client, watch: Watch) -> None:
    assert pgdoctor("mitigate", "disarm", "--reason", "failover test", "--dsn", scene.dsn).returncode == 0
    terminal = watch(columns=80)
    terminal.until("1 session blocked")
    terminal.press(DOWN, "k")
    shows(terminal, "an operator has stopped all signals", "failover test", f"terminate {holder.pid} --despite-disarm")
    terminal.press("y", "y")
    terminal.until("BLOCKS")
    assert holder.run("select 1") == [(1,)]


@pytest.mark.long
def test_session_that_ends_before_the_answer_is_not_signalled(holder: Client, waiter: Client, watch: Watch) -> None:
    terminal = watch()
    terminal.until("1 session blocked")
    terminal.press(DOWN, "k")
    terminal.until(f"terminate {holder.pid}?")
    holder.run("commit")
    waiter.finish()
    terminal.press("y")
    shows(terminal, f"terminate {holder.pid}: not sent: the session has moved on since it was shown.")
    assert holder.run("select 1") == [(1,)]


# Whom a key signals


def test_it_says_what_it_would_free_and_does_it_after_a_yes(holder: Client, waiter: Client, watch: Watch) -> None:
    """Without a configuration, in 80 columns."""
    terminal = watch(columns=80, lines=24)
    terminal.until("1 session blocked")
    terminal.press(DOWN, "k")
    asked = (
        f"terminate {holder.pid}?",
        "frees 1 session at once (forecast)",
        "costs a transaction open for",
        "y: confirm",
    )
    shows(terminal, *asked)
    terminal.press("n")
    terminal.until("no action")
    assert holder.run("select 1") == [(1,)]
    terminal.press("k")
    shows(terminal, *asked)
    assert "4711" not in terminal.text
    terminal.press("y")
    waiter.finish(40)
    said = f"terminate {holder.pid}: released 1 session in"
    shows(terminal, said)
    terminal.press(" ")
    terminal.until("No session is blocked")
    terminal.press("q")
    assert terminal.end() == 0
    # It stays to be read after the screen is gone, and is on record.
    shows(terminal, said)
    assert terminal.said == ""
    assert f"terminate {holder.pid} (idle_in_transaction on public.orders)" in " ".join(
        pgdoctor("mitigate", "audit").stdout.split()
    )
    with pytest.raises(psycopg.Error):
        holder.run("select 1")


def test_a_session_that_only_waits_can_be_cancelled(holder: Client, waiter: Client, watch: Watch) -> None:
    terminal = watch()
    terminal.until("1 session blocked")
    terminal.press(DOWN, DOWN, "c")
    shows(terminal, f"cancel {waiter.pid}?", "warning: no session waits for it", "costs a retry of its transaction")
    terminal.press("y")
    shows(terminal, f"cancel {waiter.pid}: the statement has ended in")
    with pytest.raises(psycopg.errors.QueryCanceled):
        waiter.finish()


def test_a_session_of_the_list_of_all_can_be_cancelled(scene: Scene, watch: Watch) -> None:
    """No session is blocked: it is cancelled because it runs for too long."""
    busy = scene.client(application_name="checkout").start("select pg_sleep(600)")
    terminal = watch(columns=80, lines=24)
    terminal.until("No session is blocked", "checkout")
    terminal.press("/", *"checkout", "\r", DOWN, "c")
    shows(terminal, f"cancel {busy.pid}?", "frees no session", "warning: no session waits for it")
    terminal.press("y")
    with pytest.raises(psycopg.errors.QueryCanceled):
        busy.finish(40)
    shows(terminal, f"cancel {busy.pid}: the statement has ended in")


def test_protections_of_a_configuration_are_shown(tmp_path: Path, holder: Client, waiter: Client, watch: Watch) -> None:
    file = tmp_path / "pgdoctor.toml"
    file.write_text('[[mitigation.protect]]\nstate = ["idle in transaction"]\n')
    terminal = watch("--config", str(file))
    terminal.until("1 session blocked")
    terminal.press(DOWN, "k")
    shows(terminal, f"terminate {holder.pid}?", "warning: protected: state idle in transaction is protected")


@pytest.mark.long
def test_quitting_during_an_action_shows_its_outcome(holder: Client, waiter: Client, watch: Watch) -> None:
    terminal = watch()
    terminal.until("1 session blocked")
    terminal.press(DOWN, "k")
    terminal.until(f"terminate {holder.pid}?")
    terminal.press("y", "q")
    assert terminal.end() == 0
    shows(terminal, f"terminate {holder.pid}: released 1 session in")
    waiter.finish(40)


# Mitigation over a connection that lives on


def test_act_lets_others_lead_over_a_connection_that_lives_on(
    scene: Scene, rules: Path, holder: Client, waiter: Client
) -> None:
    config = load_config(str(rules))
    keeper = Keeper(config.journal.file, config.journal.max_size)

    async def act_and_count_locks() -> int:
        async with await Connection.open(scene.dsn) as door:
            actions, _ = await execute_plan_over(door, config, keeper, only=OnlySession(holder.pid, "terminate"))
            assert [(each.victim.pid, each.outcome) for each in actions] == [(holder.pid, "released")]
            held = "select count(*) from pg_locks where locktype = 'advisory' and pid = %s"
            [(found,)] = scene.admin.execute(held, [door.connection.info.backend_pid]).fetchall()
            async with await Connection.open(scene.dsn) as other:
                await take_the_lead(other)
            return int(found)

    try:
        assert asyncio.run(act_and_count_locks()) == 0
    finally:
        keeper.close()
    waiter.finish()
