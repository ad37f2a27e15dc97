"""An agent that acts by itself: what it refuses to, what it remembers when it is killed, and what it says of it."""

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import datetime
from pathlib import Path

import msgspec
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from pgdoctor.journal.store import Journal, JournalRecord
from pgdoctor.mitigation.audit_records import KINDS
from tests.notify.strict_receivers import pagerduty
from tests.scenes.client import wait_until

_IDLE = """
[[mitigation.rules]]
name = "idle"
class = "idle_in_transaction"
action = "terminate"
min_wait = "300ms"
min_session_age = "0s"
"""
_SLOW = """
[[mitigation.rules]]
name = "slow"
class = ["long_query", "unindexed_scan"]
action = "cancel"
min_wait = "300ms"
min_session_age = "0s"
"""


#: It is waiting for its victim's end.
# By its wait, the signal was sent: a statement that is only being prepared is active, too.
_TERMINATING = """
    select 1 from pg_stat_activity
    where application_name = 'pgdoctor' and wait_event = 'BackendTermination'
        and query like '%One row if the session was signalled%'
"""


def rules(*more: str, allow_superuser: bool = True, rule: str = _IDLE) -> str:
    usual = {"mode": '"enforce"', "min_samples": "2", "startup_grace": '"0s"', "allow_short_waits": "true"}
    usual |= {"cooldown": '"0s"', "allow_superuser": str(allow_superuser).lower()}
    usual |= dict(each.split(" = ", 1) for each in more if not each.startswith("["))
    tables = "".join(each + "\n" for each in more if each.startswith("["))
    return "[mitigation]\n" + "".join(f"{key} = {value}\n" for key, value in usual.items()) + tables + rule


@pytest.fixture
def agent(agent):
    """With the second key that enforce needs."""
    return lambda dsn, **options: agent(dsn, arguments=("--enforce",), **options)


@pytest.fixture
def orders(scene):
    scene.admin.execute("create table orders (id int primary key, v int)")
    scene.admin.execute("insert into orders select g, 0 from generate_series(1, 9) g")


def hold(scene, row=1):
    """A forgotten transaction, and who waits for it."""
    holder = scene.client(f"update orders set v = 1 where id = {row}", application_name="checkout")
    return holder, scene.client().block(f"update orders set v = 2 where id = {row}")


def records() -> list[JournalRecord]:
    """What mitigation has recorded."""
    path = Path(os.environ["XDG_STATE_HOME"]) / "pgdoctor" / "journal.db"
    if not path.exists():
        return []
    with closing(Journal.open(path)) as journal:
        return journal.fetch_records(kinds=KINDS)


def refused(reason: str) -> str:
    return f'actions_refused_total{{reason="{reason}"}}'


def acted(outcome: str, rule: str = "idle", action: str = "terminate") -> str:
    return f'actions_total{{action="{action}",outcome="{outcome}",rule="{rule}"}}'


@pytest.mark.usefixtures("orders")
def test_actions_are_in_the_journal_and_the_metrics(scene, agent):
    watching = agent(scene.dsn, more=rules("max_actions_per_hour = 7"))
    watching.wait_for("leader", 1)
    assert watching.metric('mitigation_mode{mode="enforce"}') == 1
    assert sum(value for name, value in watching.metrics().items() if "mitigation_mode" in name) == 1
    assert watching.metric('budget_remaining{budget="actions_per_hour"}') == 7
    assert watching.metric("breaker_open") == 0
    _, waiter = hold(scene)
    waiter.finish()
    watching.wait_for(acted("released"), 1)
    watching.wait_for("release_seconds_count", 1)
    assert watching.metric("release_seconds_sum") < 5
    watching.wait_for('budget_remaining{budget="actions_per_hour"}', 6)
    assert watching.metric('budget_remaining{budget="per_fingerprint"}') == 1
    wait_until(lambda: [record.kind for record in records()] == ["intent", "outcome"])
    # The same again: it is reported, and counted, that it came back.
    waiter.run("rollback")
    _, waiter = hold(scene)
    watching.wait_for('action_traces_total{kind="recurrence"}', 1)
    waiter.finish()
    wait_until(lambda: [record.kind for record in records()].count("trace") == 1)


@pytest.mark.usefixtures("orders")
def test_pager_is_notified_of_the_signal(scene, agent, tmp_path):
    key = tmp_path / "key"
    key.write_text("0123456789abcdef0123456789abcdef\n")
    key.chmod(0o600)
    with pagerduty() as there:
        pager = f'[[notify]]\nname = "pager"\nformat = "pagerduty"\nurl = "{there.url}"\nrouting_key_file = "{key}"\n'
        watching = agent(scene.dsn, more=rules() + pager)
        watching.wait_for("leader", 1)
        _, waiter = hold(scene)
        waiter.finish()
        wait_until(lambda: there.bodies and there.bodies[-1]["event_action"] == "resolve", 20)
    assert there.mistakes == []
    assert [body["event_action"] for body in there.bodies] == ["trigger", "acknowledge", "resolve"]
    assert len({body["dedup_key"] for body in there.bodies}) == 1


@pytest.mark.usefixtures("orders")
def test_an_agent_does_not_act_as_a_superuser_unless_it_is_allowed_to(scene, agent):
    watching = agent(scene.dsn, more=rules(allow_superuser=False))
    holder, _ = hold(scene)
    watching.wait_for(refused("superuser"), 1)
    watching.wait_for_polls(3)
    assert holder.run("select 1") == [(1,)]
    assert records() == []


@pytest.mark.long
@pytest.mark.usefixtures("orders")
def test_it_watches_for_a_while_before_it_acts(scene, agent):
    watching = agent(scene.dsn, more=rules('startup_grace = "1h"'))
    holder, _ = hold(scene)
    watching.wait_for(refused("startup_grace"), 1)
    watching.wait_for_polls(3)
    assert holder.run("select 1") == [(1,)]


@pytest.mark.long
@pytest.mark.usefixtures("orders")
def test_h23_of_two_agents_one_leads_and_the_other_takes_over(scene, agent):
    other = make_conninfo(scene.dsn, dbname=scene.database())
    first = agent(scene.dsn, more=rules())
    first.wait_for("leader", 1)
    second = agent(other, more=rules())
    second.wait_for_polls(10)
    assert second.metric("leader") == 0
    first.end(signal.SIGKILL)
    second.wait_for("leader", 1)


@pytest.mark.long
@pytest.mark.usefixtures("orders")
def test_h22_a_leader_that_loses_its_connection_leads_again_and_watches_again(scene, agent):
    watching = agent(scene.dsn, more=rules('startup_grace = "1h"'))
    watching.wait_for("leader", 1)
    scene.admin.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity "
        "where application_name = 'pgdoctor' and datname = current_database()"
    )
    watching.wait_for_polls(3)
    watching.wait_for("leader", 1)
    hold(scene)
    watching.wait_for(refused("startup_grace"), 1)


@pytest.mark.long
@pytest.mark.deadline(120)
@pytest.mark.usefixtures("orders")
def test_with_default_rules_a_forgotten_transaction_holds_nothing_up_for_45_seconds(scene, agent):
    """By an agent that has just begun to watch; and the release follows the signal, and not the next poll or rule."""
    scene.admin.execute("grant all on orders to public")
    rule = '[[mitigation.rules]]\nname = "idle"\nclass = "idle_in_transaction"\naction = "terminate"\n'
    dsn = scene.role("watcher", "pg_monitor", "pg_signal_backend")
    scene.role("app")
    watching = agent(dsn, interval="1s", deadline="5s", share=0.02, more=f'[mitigation]\nmode = "enforce"\n{rule}')
    watching.wait_for("leader", 1)
    scene.client("update orders set v = 1 where id = 1", user="app")
    waiter = scene.client(user="app")
    began = time.monotonic()
    waiter.block("update orders set v = 2 where id = 1").finish(60)
    waited = time.monotonic() - began
    watching.wait_for("release_seconds_count", 1)
    released = watching.metric("release_seconds_sum")
    print(f"from wait to release {waited:.1f} s, from signal to release as the next look saw it {released:.2f} s")
    assert 15 <= waited < 45
    wait_until(lambda: len(records()) == 2)
    intent, outcome = records()
    signalled = msgspec.json.decode(outcome.body)["signalled_at"]
    assert (intent.kind, outcome.kind) == ("intent", "outcome")
    assert (waiter_ran(scene, waiter) - datetime.fromisoformat(signalled)).total_seconds() < 10


def waiter_ran(scene, waiter) -> datetime:
    """When its statement ended, by the server's clock."""
    [(at,)] = scene.admin.execute("select state_change from pg_stat_activity where pid = %s", [waiter.pid]).fetchall()
    return at


# Killed


@pytest.mark.usefixtures("orders")
def test_h37_killed_between_intent_and_outcome_it_has_spent_the_action_and_does_not_repeat_it(scene, agent):
    """The victim is stopped, so that it neither ends nor lets go while the agent waits for that."""
    usual = rules("max_actions_per_hour = 2")
    first = agent(scene.dsn, more=usual)
    first.wait_for("leader", 1)
    holder, waiter = hold(scene)
    os.kill(holder.pid, signal.SIGSTOP)
    try:
        wait_until(lambda: scene.admin.execute(_TERMINATING).fetchone())
        first.end(signal.SIGKILL)
        assert [record.kind for record in records()] == ["intent"]
        second = agent(scene.dsn, more=usual)
        second.wait_for('budget_remaining{budget="actions_per_hour"}', 1)
        second.wait_for(refused("already_tried"), 1)
        assert [record.kind for record in records()] == ["intent"]
    finally:
        os.kill(holder.pid, signal.SIGCONT)
    waiter.finish()
    _, another = hold(scene, row=2)
    another.finish()
    second.wait_for('budget_remaining{budget="actions_per_hour"}', 0)
    last, _ = hold(scene, row=3)
    second.wait_for(refused("budget"), 1)
    assert last.run("select 1") == [(1,)]


# Signalled to end


def outcomes() -> list[tuple[str, str]]:
    """The signal and outcome of each action on record."""
    told = [msgspec.json.decode(record.body) for record in records() if record.kind == "outcome"]
    return [(each["decision"].rpartition("-")[2], each["outcome"]) for each in told]


@pytest.mark.usefixtures("orders")
def test_stopping_agent_finishes_an_action(scene, agent):
    """The next poll would be a minute away; a health check has one made."""
    watching = agent(scene.dsn, interval="60s", prompt=5.0, more=rules("min_samples = 1"))
    watching.wait_for("leader", 1)
    _, waiter = hold(scene)
    wait_until(lambda: watching.get("/health/deep") and not waiter.busy, 30, "released")
    watching.end()
    waiter.finish()
    assert outcomes() == [("terminate", "released")]


_NESTED = ("begin", "update orders set v = 1 where id = 1", "savepoint inner_one")


@pytest.mark.long
@pytest.mark.usefixtures("orders")
def test_stop_before_the_effect_is_known_is_recorded_for_the_next_agent(scene, agent):
    """Cancelled inside a savepoint it keeps its locks; the grace is over only after the restart."""
    rule = _SLOW.replace('"cancel"', '"cancel_then_terminate"\ngrace = "4s"')
    first = agent(scene.dsn, more=rules(rule=rule))
    holder = scene.client(*_NESTED, autocommit=True).start("select pg_sleep(60)")
    waiter = scene.client().block("update orders set v = 2 where id = 1")
    with suppress(psycopg.errors.QueryCanceled):
        holder.finish(30)
    first.end()
    assert outcomes() == [("cancel", "unverified")]
    second = agent(scene.dsn, more=rules(rule=rule))
    waiter.finish()
    second.wait_for(acted("released", "slow"), 1)
    wait_until(lambda: outcomes() == [("cancel", "unverified"), ("terminate", "released")])
    assert second.metric(acted("ineffective", "slow", "cancel")) == 0


@pytest.mark.long
@pytest.mark.usefixtures("orders")
def test_stop_during_verification_is_recorded(scene, agent):
    watching = agent(scene.dsn, more=rules())
    holder, waiter = hold(scene)
    os.kill(holder.pid, signal.SIGSTOP)
    try:
        wait_until(lambda: scene.admin.execute(_TERMINATING).fetchone())
        took, status = watching.end()
        assert (took < 5, status) == (True, 0)
        assert outcomes() in ([("terminate", "unverified")], [("terminate", "error")])
    finally:
        os.kill(holder.pid, signal.SIGCONT)
    waiter.finish()


@pytest.mark.long
@pytest.mark.usefixtures("orders")
def test_cool_down_and_breaker_survive_a_kill(scene, agent):
    usual = rules('cooldown = "10m"')
    first = agent(scene.dsn, more=usual)
    _, waiter = hold(scene)
    waiter.finish()
    first.wait_for(acted("released"), 1)
    first.end(signal.SIGKILL)
    second = agent(scene.dsn, more=usual)
    holder, _ = hold(scene, row=2)
    second.wait_for(refused("cooldown"), 1)
    assert holder.run("select 1") == [(1,)]
    second.end(signal.SIGKILL)
    third = agent(scene.dsn, more=rules("[mitigation.breaker]\nrecurrence = 1"))
    third.wait_for("recurrence_stops", 1)
    third.end(signal.SIGKILL)
    holder.run("rollback")
    fourth = agent(scene.dsn, more=rules())
    holder, _ = hold(scene, row=3)
    fourth.wait_for(refused("recurrence"), 1)
    fourth.wait_for("recurrence_stops", 1)
    assert holder.run("select 1") == [(1,)]


# What it leaves behind


@pytest.mark.long
@pytest.mark.usefixtures("orders")
def test_h2_a_session_that_idles_aborted_with_its_locks_is_a_finding(scene, agent):
    watching = agent(scene.dsn, more=rules(rule=_SLOW))
    holder = scene.client("update orders set v = 1 where id = 1", "savepoint s")
    holder.start("select pg_sleep(60)")
    waiter = scene.client().block("update orders set v = 2 where id = 1")
    with pytest.raises(psycopg.errors.QueryCanceled):
        holder.finish(20)
    watching.wait_for('action_traces_total{kind="aborted_holder"}', 1, 20)

    def told():
        found = watching.get("/diagnosis").json()["findings"]
        return [note for note in found if note["kind"] == "aborted_holder"]

    [note] = wait_until(told)
    assert str(holder.pid) in note["summary"]
    assert "still blocks" in watching.get("/").text
    assert watching.metric(acted("ineffective", "slow", "cancel")) == 1
    holder.run("rollback")
    waiter.finish()
    wait_until(lambda: not told())


# Through a pooler


@pytest.fixture
def pooler(scene) -> Iterator[str]:
    """A DSN by which another backend answers than the one that the client is notified of, as poolers make one up."""
    given = conninfo_to_dict(scene.dsn)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                upstream = socket.create_connection((given["host"], int(given["port"])))
                threading.Thread(target=forward, args=(client, upstream, False), daemon=True).start()
                threading.Thread(target=forward, args=(upstream, client, True), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    yield make_conninfo(scene.dsn, port=listener.getsockname()[1], sslmode="disable", gssencmode="disable")
    listener.close()


def forward(source: socket.socket, target: socket.socket, lies: bool) -> None:
    """Pass bytes on; `lies` about the PID in the message that tells it, BackendKeyData."""
    with suppress(OSError):
        while piece := source.recv(65_536):
            if lies and (place := piece.find(b"K\x00\x00\x00\x0c")) >= 0:
                piece = piece[: place + 5] + b"\x00\x00\x30\x39" + piece[place + 9 :]
                lies = False
            target.sendall(piece)
        target.shutdown(socket.SHUT_WR)


@pytest.mark.long
@pytest.mark.usefixtures("orders")
def test_h23_behind_a_pooler_it_does_not_act(scene, agent, pooler):
    watching = agent(pooler, more=rules())
    holder, _ = hold(scene)
    watching.wait_for(refused("pooled"), 1)
    watching.wait_for_polls(3)
    assert holder.run("select 1") == [(1,)]
