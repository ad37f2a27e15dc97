"""The keys c and k: the guarded path of `mitigate`, and a yes before it."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from pgdoctor.cli._mitigate_operations import act
from pgdoctor.cli._watch_actions import WatchActions
from pgdoctor.config.config import load_config
from pgdoctor.journal.keeper import Keeper
from pgdoctor.mitigation.plan import OnlySession
from pgdoctor.postgres.connection import Connection
from pgdoctor.render.live.view import ViewQuestion
from tests.cli.conftest import RULES
from tests.leading import take_the_lead
from tests.live.terminal import DOWN, Terminal
from tests.scenes import Client, Scene
from tests.scenes.client import wait_until

pytestmark = pytest.mark.deadline(120)

Watch = Callable[..., Terminal]


@pytest.fixture
def holder(scene: Scene) -> Client:
    """Idles in its transaction and holds a row up."""
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


def test_a_yes_is_of_the_transaction_that_was_asked_about(
    scene: Scene, rules: Path, holder: Client, waiter: Client
) -> None:
    """Until somebody has read it and said yes, the session may do something else, and hold up others with that."""
    cutting = WatchActions(scene.dsn, load_config(str(rules)), str(rules))
    question = asyncio.run(cutting.ask(holder.pid, "terminate"))
    assert isinstance(question, ViewQuestion)
    holder.run("commit")
    waiter.finish()
    scene.admin.execute("insert into orders values (2, 0)")
    holder.run("update orders set v = 1 where id = 2")
    scene.client().block("update orders set v = 2 where id = 2")
    said = " ".join(asyncio.run(cutting.act(question)))
    assert "no signal was sent" in said
    assert "is in another statement or transaction" in said
    assert holder.run("select 1") == [(1,)]


def test_it_says_what_it_would_free_and_does_it_after_a_yes(
    rules: Path, holder: Client, waiter: Client, watch: Watch
) -> None:
    terminal = watch("--config", str(rules))
    terminal.until("1 session blocked")
    terminal.press(DOWN, "k")
    terminal.until(f"terminate {holder.pid}?", "A terminate frees 1 at once", "It costs a transaction open")
    terminal.press("n")
    terminal.until("no action")
    assert holder.run("select 1") == [(1,)]
    terminal.press("k")
    terminal.until(f"terminate {holder.pid}?", "Rule idle allows it")
    terminal.press("y")
    waiter.finish(40)
    said = f"terminate {holder.pid} (idle_in_transaction, rule idle): released 1 session in"
    terminal.until(said)
    terminal.press(" ")
    terminal.until("No session is blocked")
    terminal.press("q")
    assert terminal.end() == 0
    # It stays to be read after the screen is gone, and what was written down of it with it.
    terminal.until(said)
    events = [json.loads(line) for line in terminal.said.splitlines()]
    assert [each["event"] for each in events] == ["mitigation intent", "mitigation outcome"]
    assert {each["pid"] for each in events} == {holder.pid}
    with pytest.raises(psycopg.Error):
        holder.run("select 1")


def test_a_key_that_the_rule_does_not_say_is_refused(rules: Path, holder: Client, waiter: Client, watch: Watch) -> None:
    terminal = watch("--config", str(rules))
    terminal.until("1 session blocked")
    terminal.press(DOWN, "c")
    terminal.until(f"cancel {holder.pid}: no.", "Rule idle allows only a terminate.")
    terminal.press("y")
    terminal.until("BLOCKS")
    assert holder.run("select 1") == [(1,)]
    assert waiter.busy


@pytest.mark.long
@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda text: None, "there is no configuration (--config FILE"),
        (lambda text: text[: text.index("[[")], "has no [[mitigation.rules]]"),
        (lambda text: text.replace('"enforce"', '"dry_run"'), 'has mode = "dry_run"'),
        (lambda text: text.replace("idle_in_transaction", "migration"), "No rule allows a signal"),
        (lambda text: text + 'min_age = "1h"\n', "min_age: "),
        (lambda text: text + '[[mitigation.protect]]\nstate = ["idle in transaction"]\n', "protected"),
    ],
    ids=["no configuration", "no rules", "dry run", "another class", "a condition", "protected"],
)
def test_whatever_speaks_against_it_is_said_and_nobody_is_signalled(
    tmp_path: Path, holder: Client, waiter: Client, watch: Watch, change: Callable[[str], str | None], word: str
) -> None:
    text = change(RULES)
    file = tmp_path / "pgdoctor.toml"
    file.write_text(f'{text or ""}\n[journal]\npath = "{tmp_path / "journal.db"}"\n')
    terminal = watch(*(("--config", str(file)) if text else ()), columns=200)
    terminal.until("1 session blocked")
    terminal.press(DOWN, "k")
    terminal.until(f"terminate {holder.pid}: no", word)
    terminal.press("y", "y")
    terminal.until("BLOCKS")
    assert holder.run("select 1") == [(1,)]
    assert waiter.busy


def test_nobody_is_signalled_whom_nobody_waits_for(rules: Path, holder: Client, waiter: Client, watch: Watch) -> None:
    terminal = watch("--config", str(rules))
    terminal.until("1 session blocked")
    terminal.press(DOWN, DOWN, "k")
    terminal.until(f"terminate {waiter.pid}: no, no session waits for it; it waits itself, for {holder.pid}")
    assert waiter.busy


@pytest.mark.long
def test_who_ends_between_question_and_yes_is_not_signalled(
    scene: Scene, rules: Path, holder: Client, waiter: Client, watch: Watch
) -> None:
    terminal = watch("--config", str(rules))
    terminal.until("1 session blocked")
    terminal.press(DOWN, "k")
    terminal.until(f"terminate {holder.pid}?")
    holder.run("commit")
    waiter.finish()
    terminal.press("y")
    terminal.until(f"terminate {holder.pid}: no signal was sent, because no session waits for it any more.")
    assert holder.run("select 1") == [(1,)]


def test_act_lets_others_lead_over_a_connection_that_lives_on(
    scene: Scene, rules: Path, holder: Client, waiter: Client
) -> None:
    config = load_config(str(rules))
    keeper = Keeper(config.journal.file, config.journal.max_size)

    async def act_and_count_locks() -> int:
        async with await Connection.open(scene.dsn) as door:
            actions, _ = await act(door, config, keeper, only=OnlySession(holder.pid, "terminate"))
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


@pytest.mark.long
def test_a_queued_migration_is_cancelled_and_may_be_run_again(scene: Scene, tmp_path: Path, watch: Watch) -> None:
    scene.admin.execute("create table orders ()")
    scene.client("select from orders", application_name="reporting")
    alter = scene.client(application_name="deploy", autocommit=True).block("alter table orders add c int")
    reader = scene.client().block("select from orders")
    file = tmp_path / "pgdoctor.toml"
    text = RULES.replace("idle_in_transaction", "migration").replace("terminate", "cancel")
    file.write_text(f'{text}\n[journal]\npath = "{tmp_path / "journal.db"}"\n')
    terminal = watch("--config", str(file))
    terminal.until("2 sessions blocked")
    terminal.press(DOWN, DOWN, "c")
    terminal.until(f"cancel {alter.pid}?", "It costs nothing but a retry")
    terminal.press("y")
    reader.finish(40)
    with pytest.raises(psycopg.errors.QueryCanceled):
        alter.finish()
    wait_until(lambda: "released 1 session" in terminal.text, 40)


@pytest.mark.long
def test_who_quits_while_something_is_done_is_told_what_came_of_it(
    rules: Path, holder: Client, waiter: Client, watch: Watch
) -> None:
    terminal = watch("--config", str(rules))
    terminal.until("1 session blocked")
    terminal.press(DOWN, "k")
    terminal.until(f"terminate {holder.pid}?")
    terminal.press("y", "q")
    assert terminal.end() == 0
    terminal.until("idle_in_transaction, rule idle): released 1 session in")
    waiter.finish(40)
