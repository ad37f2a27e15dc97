"""The demo shows a real incident, and its incident is what the agent releases by itself, touching no other session."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from pgdoctor.demo.demo_incident import READERS, WRITERS
from pgdoctor.demo.stage import stage_incident
from pgdoctor.demo.throwaway_server import ThrowawayServer
from tests.agent.running import RunningAgent
from tests.looking import look
from tests.scenes.client import wait_until

BLOCKED = 1 + READERS + WRITERS

RULES = """
    [mitigation]
    mode = "enforce"
    cooldown = "1s"
    startup_grace = "0s"
    allow_short_waits = true
    allow_superuser = true

    [[mitigation.rules]]
    name = "queued-migrations"
    class = "migration"
    action = "cancel"
    min_wait = "2s"
    min_session_age = "0s"

    [[mitigation.rules]]
    name = "forgotten"
    class = "idle_in_transaction"
    action = "terminate"
    min_wait = "2s"
    min_session_age = "0s"

    [[mitigation.rules]]
    name = "scans"
    class = "unindexed_scan"
    action = "cancel_then_terminate"
    grace = "5s"
    min_wait = "2s"
    min_session_age = "0s"
"""


def demo(*options: str, bindir: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pgdoctor", "demo", "--bindir", str(bindir), *options],
        env={**os.environ, "COLUMNS": "150"},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )


@pytest.mark.long
def test_it_shows_the_tree_and_what_each_cut_would_free_and_touches_no_session(bindir: Path) -> None:
    result = demo(bindir=bindir)
    assert (result.returncode, result.stderr) == (0, "")
    assert f"{BLOCKED} sessions blocked by 2 root blockers" in result.stdout
    assert re.search(r"^\d+ idle_in_transaction  public.orders  7 blocked", result.stdout, re.MULTILINE)
    assert re.search(r"^\d+ unindexed_scan  public.shipments  4 blocked", result.stdout, re.MULTILINE)
    assert re.search(rf"cancel \d+: {READERS} sessions at once  ← best", result.stdout)
    assert "No signal was sent" in result.stdout


@pytest.mark.long
def test_sample_in_the_readme_is_what_the_demo_says(bindir: Path) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    (sample,) = re.findall(r"^```\n([0-9]+ sessions blocked.*?)^```$", readme, re.MULTILINE | re.DOTALL)
    said = [without_numbers(line) for line in demo(bindir=bindir).stdout.splitlines()]
    lines = [without_numbers(line) for line in sample.splitlines() if line.strip("⋮ ")]
    assert [line for line in lines if not any(each.startswith(line.partition("…")[0]) for each in said)] == []


def without_numbers(line: str) -> str:
    """A line without its PIDs, times and ports."""
    return re.sub(r"[0-9][0-9.,]*", "0", line)


def test_mitigated_it_shows_the_recovery(bindir: Path) -> None:
    result = demo("--mitigate", bindir=bindir)
    assert (result.returncode, result.stderr) == (0, "")
    assert "(migration on public.orders), rule queued-migrations: released" in result.stdout
    assert "(unindexed_scan on public.shipments), rule scans: released" in result.stdout
    assert result.stdout.rstrip().splitlines()[-1].endswith("the server and its files are removed")
    assert "No session is blocked" in result.stdout


@pytest.mark.long
def test_kept_it_leaves_server_and_incident_running_and_prints_the_dsn(bindir: Path) -> None:
    result = demo("--keep", bindir=bindir)
    assert result.returncode == 0, result.stderr
    dsn = result.stdout.rstrip().splitlines()[-1]
    end = re.search(r"to end it: kill -INT (\d+) && rm -rf (\S+)$", result.stdout, re.MULTILINE)
    assert end is not None
    try:
        assert look(dsn).blocked_sessions == BLOCKED
    finally:
        os.kill(int(end[1]), signal.SIGINT)
    wait_until(lambda: not Path(f"/proc/{end[1]}").exists(), what="the end of the server")
    assert not reachable(dsn)
    shutil.rmtree(end[2])


def reachable(dsn: str) -> bool:
    try:
        psycopg.connect(dsn, connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


def test_without_a_server_to_start_it_says_so_in_one_line(tmp_path: Path) -> None:
    result = demo(bindir=tmp_path)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "no PostgreSQL server to start" in result.stderr


@pytest.fixture
def staged(own_server: Callable[..., ThrowawayServer]) -> Iterator[ThrowawayServer]:
    server = own_server()
    with stage_incident(server.dsn, lambda step: None):
        yield server


def test_an_enforcing_agent_releases_the_incident_by_itself_and_touches_no_other_session(
    staged: ThrowawayServer, tmp_path: Path
) -> None:
    with psycopg.connect(staged.dsn) as bystander, psycopg.connect(staged.dsn, autocommit=True) as watcher:
        # It has locks and is idle in its transaction, like an offender, but holds up no session.
        bystander.execute("create table mine (id int)")
        before = sessions(watcher)
        assert look(staged.dsn).blocked_sessions == BLOCKED
        with RunningAgent(staged.dsn, tmp_path / "pgdoctor.toml", more=RULES, arguments=("--enforce",)) as agent:
            wait_until(lambda: not look(staged.dsn).blocked_sessions, 30, "the release of everybody")
            agent.wait_for("blocked_sessions", 0.0)
            # The figures follow each poll; an outcome is settled by the next snapshot.
            wait_until(lambda: len(signalled(agent)) == 2, 30, "both outcomes")
            assert signalled(agent) == {
                'pgdoctor_actions_total{action="cancel",outcome="released",rule="queued-migrations"}',
                'pgdoctor_actions_total{action="cancel",outcome="released",rule="scans"}',
            }
        # The reader in front of the migration is left alone: once the migration is gone it holds up no session.
        assert sessions(watcher)["reporting"] == before["reporting"]
        bystander.execute("select from mine")


def sessions(watcher: psycopg.Connection) -> dict[str, list[int]]:
    """PIDs by application."""
    rows = watcher.execute(
        "select application_name, array_agg(pid order by pid) from pg_stat_activity "
        "where backend_type = 'client backend' group by 1"
    ).fetchall()
    return dict(rows)


def signalled(agent: RunningAgent) -> set[str]:
    """The counters of actions that are not zero."""
    return {name for name, count in agent.metrics().items() if name.startswith("pgdoctor_actions_total") and count}
