"""Rehearsals at a real server: nothing is signalled, and each would-be signal is scored once its blocker ends."""

import asyncio
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from pgdoctor.enforcement.mitigator import Mitigator
from pgdoctor.fields import Duration
from pgdoctor.journal.keeper import Keeper
from pgdoctor.journal.store import Journal
from pgdoctor.mitigation.rehearsal import KIND, RehearsalScore, read_scores
from pgdoctor.mitigation.rules import Mitigation, Mode
from pgdoctor.postgres.collect import Collector
from pgdoctor.postgres.connection import Connection
from pgdoctor.postgres.server_watch import ServerWatch
from tests.mitigation.conftest import Incident, rule

#: It waits for nothing, so that the first poll decides.
AT_ONCE = rule("idle", "idle_in_transaction", "terminate", min_wait=Duration(0))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


@pytest.fixture
def keeper(path: Path) -> Iterator[Keeper]:
    kept = Keeper(path)
    yield kept
    kept.close()


class Rehearsing:
    """An agent in a mode that signals no session, poll by poll."""

    def __init__(self, incident: Incident, keeper: Keeper | None, mode: Mode) -> None:
        rules = Mitigation(mode=mode, rules=(AT_ONCE,), min_samples=1, cooldown=Duration(0), allow_short_waits=True)
        self.mitigator = Mitigator(rules, keeper, unattended=False)
        self._dsn = incident.agent

    def polls(self, times: int = 1) -> None:
        async def work() -> None:
            async with await Connection.open(self._dsn) as connection:
                watch = ServerWatch(Collector(connection))
                for _ in range(times):
                    await self.mitigator.consider(await watch.diagnose_server(), connection, watch.read_at)

        asyncio.run(work())


def scores(path: Path) -> list[RehearsalScore]:
    with closing(Journal.open(path)) as journal:
        return list(read_scores(each.body for each in journal.fetch_records(kinds=(KIND,))))


@pytest.mark.parametrize("mode", ["observe", "dry_run"])
def test_would_be_signal_is_scored_once_its_blocker_ends(incident: Incident, path: Path, keeper: Keeper, mode: Mode):
    holder = incident.app("update orders set v = 1 where id = 1")
    waiter = incident.app().block("update orders set v = 2 where id = 1")
    agent = Rehearsing(incident, keeper, mode)
    agent.polls(3)
    assert (scores(path), incident.alive(holder)) == ([], True)
    holder.run("commit")
    waiter.finish()
    agent.polls()
    [score] = scores(path)
    assert (score.mode, score.rule, score.signal, score.frees) == (mode, "idle", "terminate", 1)
    assert score.result in ("needless", "helped")
    assert agent.mitigator.rehearsals[score.result] == 1
    assert sum(agent.mitigator.rehearsals.values()) == 1
    agent.polls(2)
    assert len(scores(path)) == 1


def test_agent_that_ends_writes_down_what_it_followed(incident: Incident, path: Path, keeper: Keeper):
    incident.app("update orders set v = 1 where id = 1")
    incident.app().block("update orders set v = 2 where id = 1")
    agent = Rehearsing(incident, keeper, "observe")
    agent.polls(2)
    asyncio.run(agent.mitigator.record_unfinished_action())
    assert [each.result for each in scores(path)] in (["unknown"], ["helped"])


def test_enforced_action_is_no_rehearsal(incident: Incident, path: Path, keeper: Keeper):
    incident.app("update orders set v = 1 where id = 1")
    incident.app().block("update orders set v = 2 where id = 1")
    actions, mitigator = incident.mitigate(AT_ONCE, journal=keeper, min_samples=1)
    assert [each.outcome for each in actions] == ["released"]
    assert (sum(mitigator.rehearsals.values()), scores(path)) == (0, [])


def test_refusal_of_the_server_is_scored_once(incident: Incident, path: Path, keeper: Keeper):
    """A superuser's session, which the agent's role may not signal."""
    holder = incident.scene.client("update orders set v = 1 where id = 1")
    incident.app().block("update orders set v = 2 where id = 1")
    agent = Rehearsing(incident, keeper, "observe")
    agent.polls(3)
    assert [each.result for each in scores(path)] == ["refused"]
    assert agent.mitigator.rehearsals["refused"] == 1
    assert incident.alive(holder)


def test_rehearsals_need_no_journal(incident: Incident):
    holder = incident.app("update orders set v = 1 where id = 1")
    waiter = incident.app().block("update orders set v = 2 where id = 1")
    agent = Rehearsing(incident, None, "observe")
    agent.polls(2)
    holder.run("commit")
    waiter.finish()
    agent.polls()
    assert sum(agent.mitigator.rehearsals.values()) == 1
