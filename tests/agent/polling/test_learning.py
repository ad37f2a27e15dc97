"""The agent learns what is usual, says what is not, and knows it after a restart."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from pgdoctor.agent.polling.learning import NAME, Learning
from pgdoctor.agent.polling.reconnector import Reconnector
from pgdoctor.baseline.baseline import UNUSUAL
from pgdoctor.baseline.thresholds import LASTING, Thresholds, unpack_thresholds
from pgdoctor.config.config import AgentSettings
from pgdoctor.journal.keeper import Keeper
from pgdoctor.journal.store import Journal
from pgdoctor.mitigation.rules import Duration
from pgdoctor.model.anomaly_signals import SIGNALS
from tests.agent.polling.assembling import make_poller
from tests.agent.running import RunningAgent
from tests.scenes import Scene
from tests.scenes.client import wait_until

QUIET = dict.fromkeys(SIGNALS, 0.0) | {"connections": 5.0, "active_sessions": 1.0}
CONNECTIONS = 'anomaly_score{signal="connections"}'


def known(until: float) -> Thresholds:
    """An hour of a server on which little happens."""
    thresholds = Thresholds()
    for second in range(0, 3_600, 20):
        thresholds = thresholds.observe(QUIET, until - 3_600 + second, incident=False)
    return thresholds


def identifier(scene: Scene) -> str:
    with psycopg.connect(scene.dsn) as connection:
        [(found,)] = connection.execute("select system_identifier::text from pg_control_system()").fetchall()
        return str(found)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with closing(Journal.open(tmp_path / "state" / "journal.db")) as opened:
        yield opened


@pytest.fixture
def learning(agent, journal) -> Callable[[Scene], RunningAgent]:
    """Start an agent that has that journal."""
    return lambda scene: agent(scene.dsn, more=f'[journal]\npath = "{journal.path}"')


def test_every_signal_has_a_score_and_it_is_nothing_before_anything_is_known(scene, agent):
    watching = agent(scene.dsn)
    watching.wait_for("up", 1)
    scores = {name: value for name, value in watching.metrics().items() if "anomaly_score" in name}
    assert scores == {f'pgdoctor_anomaly_score{{signal="{name}"}}': 0.0 for name in SIGNALS}


def test_baselines_are_loaded_at_the_start_and_saved_at_the_end(scene, journal, learning):
    server = identifier(scene)
    journal.remember(server, NAME, known(time.time()).encode_state())
    for _ in range(40):
        scene.client()
    watching = learning(scene)
    wait_until(lambda: watching.metric(CONNECTIONS) >= UNUSUAL)
    assert watching.metric('anomaly_score{signal="blocked_sessions"}') == 0.0
    watching.end()
    kept = journal.recall(server, NAME)
    assert unpack_thresholds(kept).baselines["connections"].usual.median == 5.0


@pytest.mark.long
@pytest.mark.deadline(120)
def test_unusual_rate_for_half_a_minute_is_a_finding(scene, journal, learning):
    journal.remember(identifier(scene), NAME, known(time.time()).encode_state())
    for _ in range(40):
        scene.client()
    watching = learning(scene)

    def found() -> list[dict[str, object]]:
        return [each for each in watching.get("/diagnosis").json()["findings"] if each["kind"] == "anomaly"]

    watching.wait_for("up", 1)
    assert not found()
    [note] = wait_until(found, LASTING + 20)
    assert note["summary"].startswith("connections: 4")
    assert "usual 5 ± 3: score" in note["summary"]
    assert "usual 5 ± 3" in watching.get("/").text


@pytest.mark.parametrize("body", [b"garbage", b"", known(0.0).encode_state()[:-9]])
def test_a_memory_that_cannot_be_read_costs_one_line(scene, journal, learning, body):
    server = identifier(scene)
    journal.remember(server, NAME, body)
    watching = learning(scene)
    wait_until(lambda: any("learning starts again" in line["event"] for line in watching.lines))
    [line] = [line for line in watching.lines if "learning starts again" in line["event"]]
    assert "damaged" in line["reason"]
    watching.polls_until("up", 1)
    assert watching.metric(CONNECTIONS) == 0.0
    watching.end()
    assert unpack_thresholds(journal.recall(server, NAME)).baselines["connections"].recent.last is not None


def test_baselines_of_another_server_are_neither_used_nor_lost(scene, journal, learning):
    other = known(time.time()).encode_state()
    journal.remember("1", NAME, other)
    for _ in range(40):
        scene.client()
    watching = learning(scene)
    watching.wait_for("up", 1)
    watching.polls_until("up", 1)
    assert watching.metric(CONNECTIONS) == 0.0
    watching.end()
    assert journal.recall("1", NAME) == other
    assert journal.recall(identifier(scene), NAME) is not None


def test_the_agent_learns_nothing_from_the_incident_it_is_in(scene, journal, monkeypatch):
    monkeypatch.setattr("pgdoctor.baseline.thresholds._HURTS", 0.3)
    scene.admin.execute("create table t ()")
    holder = scene.client("lock table t")
    waiter = scene.client().block("select from t")

    async def poll() -> None:
        keeper, connection = Keeper(journal.path), Reconnector(scene.dsn, 5.0)
        learning = Learning(keeper)
        poller = make_poller(connection, AgentSettings(interval=Duration(0.05)), keeper, learning=learning)
        polling = asyncio.create_task(poller.run())
        async with asyncio.timeout(20):
            while not learning.thresholds.is_hurt:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            holder.run("commit")
            while learning.thresholds.is_hurt:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        polling.cancel()
        await learning.end()
        connection.drop()
        keeper.close()

    asyncio.run(poll())
    waiter.finish()


def after(keeper: Keeper, *servers: str) -> Learning:
    """What is known after a poll of each server in turn, and until the journal has answered."""

    async def poll() -> Learning:
        learning = Learning(keeper)
        for server in servers:
            learning.observe(server, QUIET, time.time(), incident=False)
            await learning.end()
            learning.observe(server, QUIET, time.time(), incident=False)
        await learning.end()
        return learning

    found = asyncio.run(poll())
    keeper.close()
    return found


def test_each_server_behind_a_connection_has_a_memory_of_its_own(journal):
    before = known(time.time())
    journal.remember("2", NAME, before.encode_state())
    there = after(Keeper(journal.path), "1", "2")
    assert there.thresholds.baselines["connections"].usual == before.baselines["connections"].usual
    assert unpack_thresholds(journal.recall("1", NAME)).baselines["connections"].usual is None
    assert after(Keeper(journal.path), "2", "1").thresholds.baselines["connections"].usual is None


def test_without_an_identifier_it_learns_and_keeps_nothing(journal):
    learnt = after(Keeper(journal.path), "")
    assert learnt.thresholds.baselines["connections"].recent.last is not None
    assert journal.recall("", NAME) is None


def test_without_a_journal_it_learns_all_the_same(tmp_path):
    (tmp_path / "file").write_text("")
    learnt = after(Keeper(tmp_path / "file" / "journal.db"), "1")
    assert learnt.thresholds.baselines["connections"].recent.last is not None


def test_nothing_is_written_over_what_could_not_be_read_and_it_is_asked_for_again(journal, monkeypatch):
    before, aside = known(time.time()), journal.path.with_name("aside")
    journal.remember("1", NAME, before.encode_state())
    journal.close()
    journal.path.rename(aside)
    journal.path.mkdir()

    async def poll() -> None:
        keeper = Keeper(journal.path)
        learning = Learning(keeper)
        learning.observe("1", QUIET, time.time(), incident=False)
        await learning.end()
        learning.observe("1", QUIET, time.time(), incident=False)
        assert learning.thresholds.baselines["connections"].recent.last is not None
        journal.path.rmdir()
        aside.rename(journal.path)
        await learning.end()
        with closing(Journal.open(journal.path)) as again:
            assert again.recall("1", NAME) == before.encode_state()
        monkeypatch.setattr("pgdoctor.agent.polling.learning._SAVING", 0.0)
        learning.observe("1", QUIET, time.time(), incident=False)
        await learning.end()
        assert learning.thresholds.baselines["connections"].usual == before.baselines["connections"].usual
        keeper.close()

    asyncio.run(poll())
