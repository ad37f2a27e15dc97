"""An acting agent that is killed at any moment: nothing is done without a record, and no record is lost or doubled."""

import random
import signal
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from pgdoctor.incidents.incident_log import KIND, read_entries
from pgdoctor.journal.store import Journal, JournalRecord
from pgdoctor.mitigation.audit_records import Intent, Settled, read_events
from tests.agent.running import RunningAgent
from tests.agent.test_incident_survival import exported
from tests.scenes import Scene
from tests.scenes.client import Client

_RULES = """
[mitigation]
mode = "enforce"
min_samples = 2
startup_grace = "0s"
cooldown = "0s"
allow_short_waits = true
allow_superuser = true
max_actions_per_5m = 1000
max_actions_per_hour = 1000
max_terminates_per_hour = 1000
max_per_fingerprint_per_hour = 1000
[mitigation.breaker]
open_after_errors = 1000
[[mitigation.rules]]
name = "idle"
class = "idle_in_transaction"
action = "terminate"
min_wait = "300ms"
min_session_age = "0s"
"""


class _Pair:
    """A forgotten transaction, and a session that waits for it."""

    def __init__(self, scene: Scene, number: int) -> None:
        name = f"round{number}"
        self.holder = scene.client(f"update t set v = 1 where id = {number}", application_name=name)
        self.waiter: Client = scene.client().block(f"update t set v = 2 where id = {number}")

    @property
    def is_signalled(self) -> bool:
        try:
            self.holder.run("select 1", timeout=60)
        except psycopg.OperationalError:
            return True
        return False

    def end(self) -> None:
        if not self.is_signalled:
            self.holder.run("rollback", timeout=60)
        self.waiter.finish(timeout=60)
        self.waiter.close()
        self.holder.close()


def _read_records(path: Path) -> list[JournalRecord]:
    with closing(Journal.open(path)) as opened:
        assert opened.warning is None
        return opened.fetch_records()


def _check_records(path: Path, lines: list[dict[str, object]], signalled: set[int]) -> None:
    records = _read_records(path)
    events = list(read_events(records))
    intents = Counter(each.decision for each in events if isinstance(each, Intent))
    outcomes = Counter(each.decision for each in events if isinstance(each, Settled))
    assert set(intents.values()) <= {1}
    assert all(number <= intents[decision] for decision, number in outcomes.items())
    for event, recorded in (("mitigation intent", intents), ("mitigation outcome", outcomes)):
        assert {each["decision"] for each in lines if each["event"] == event} <= recorded.keys()
    assert signalled <= {each.action.victim.pid for each in events if isinstance(each, Intent)}
    entries, unread = read_entries(each.body for each in records if each.kind == KIND)
    assert unread == 0
    for event in ("started", "ended"):
        assert set(Counter(each.id for each in entries if each.event == event).values()) <= {1}


def kill_acting_agents(scene: Scene, tmp_path: Path, times: int, seed: int) -> tuple[int, int]:
    """Kill one agent after the other, half of them just as they act; how many acted, and signalled a session."""
    path, chance = tmp_path / "journal.db", random.Random(seed)
    scene.admin.execute(f"create table t as select g as id, 0 as v from generate_series(0, {times}) g")
    scene.admin.execute("alter table t add primary key (id)")
    lines, signalled, acted = list[dict[str, object]](), set[int](), 0
    for number in range(times):
        pair = _Pair(scene, number)
        with RunningAgent(
            scene.dsn,
            tmp_path / "pgdoctor.toml",
            interval="100ms",
            more=f'[journal]\npath = "{path}"\n{_RULES}',
            arguments=("--enforce",),
        ) as watching:
            if number % 2:
                watching.wait_for_lines("mitigation intent")
                time.sleep(chance.random() * 0.05)
            else:
                time.sleep(chance.random() * 1.5)
            watching.end(signal.SIGKILL)
        mine = watching.lines
        acted += any(each["event"] == "mitigation intent" for each in mine)
        lines += mine
        if pair.is_signalled:
            signalled.add(pair.holder.pid)
        pair.end()
        if path.exists():
            _check_records(path, lines, signalled)
    assert exported(path, tmp_path / "one.json.gz")
    return acted, len(signalled)


@pytest.mark.long
@pytest.mark.deadline(300)
def test_killed_acting_agents_signal_no_session_without_a_record(scene: Scene, tmp_path: Path) -> None:
    acted, signalled = kill_acting_agents(scene, tmp_path, 6, seed=16)
    assert acted >= 3
    assert signalled
