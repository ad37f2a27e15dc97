"""Incidents outlive their agent: kill -9 at any moment, a restart of agent or server, a clock that jumps."""

import json
import random
import shutil
import signal
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import psycopg
import pytest
from msgspec.structs import replace

from pgdoctor.demo.throwaway_server import ThrowawayServer
from pgdoctor.incidents.export_file import decode_export
from pgdoctor.incidents.incident_course import MOST_POINTS, IncidentCourse
from pgdoctor.incidents.incident_log import KIND, read_entries
from pgdoctor.journal.store import Journal
from pgdoctor.render.incident_report import incident_report_json, make_incident_report
from pgdoctor.render.incident_story import make_story
from pgdoctor.render.postmortem import render_postmortem
from pgdoctor.render.web.incident_report_page import render_incident_report
from tests.agent.http.test_incidents import journal, stage, wait_for_end
from tests.agent.running import RunningAgent
from tests.cli.test_incidents import incidents
from tests.incidents.test_export_file import incident
from tests.scenes import Scene
from tests.scenes.client import Client, wait_until

Agent = Callable[..., RunningAgent]


def begin(scene: Scene) -> tuple[Client, Client]:
    """A blocker, and a session that waits for it."""
    scene.admin.execute("create table t (id int primary key, v text); insert into t values (1, 'a')")
    holder = scene.client("update t set v = 'zq7secret' where id = 1")
    return holder, scene.client().block("update t set v = 'zq7secret' where id = 1")


def exported(path: Path, file: Path) -> set[str]:
    """The ids of all incidents that are listed, each of which can be exported and shown; none is there twice."""
    listed = incidents(path, "list", "--format", "json")
    assert listed.returncode == 0, listed.stderr
    found = [each["id"] for each in json.loads(listed.stdout)]
    assert len(found) == len(set(found))
    for each in found:
        done = incidents(path, "export", each, "--out", str(file), "--force")
        assert done.returncode == 0, done.stderr
        [only] = decode_export([file.read_bytes()]).incidents
        assert only.id == each
        assert incidents(path, "report", each).returncode == 0
    return set(found)


def kill_agents(scene: Scene, agent: Agent, tmp_path: Path, times: int) -> None:
    """Kill one agent after the other at random moments of one incident; the last one sees its end."""
    path, chance = tmp_path / "journal.db", random.Random(16)
    holder, waiter = begin(scene)
    known = set[str]()
    for _ in range(times):
        watching = agent(scene.dsn, more=journal(path), interval="100ms", prompt=20.0)
        if not known:
            watching.wait_for("blocked_sessions", 1, timeout=30)
        time.sleep(chance.random() * 0.5)
        watching.end(signal.SIGKILL)
        found = exported(path, tmp_path / "one.json.gz") if path.exists() else set()
        assert found >= known
        known = found
    last = agent(scene.dsn, more=journal(path), prompt=20.0)
    last.wait_for("blocked_sessions", 1, timeout=30)
    holder.run("rollback")
    waiter.finish(timeout=30)
    last.wait_for("incident_duration_seconds_count", 1, timeout=30)
    [only] = exported(path, tmp_path / "one.json.gz")
    wait_for_end(path, only)
    with closing(Journal.open(path)) as opened:
        entries, unread = read_entries(each.body for each in opened.fetch_records(kinds=(KIND,)))
    assert unread == 0
    assert [each.event for each in entries].count("started") == 1
    assert [each.event for each in entries].count("ended") == 1


@pytest.mark.deadline(180)
def test_killed_agents_lose_and_double_no_incident(scene: Scene, agent: Agent, tmp_path: Path) -> None:
    kill_agents(scene, agent, tmp_path, 3)


@pytest.mark.long
@pytest.mark.deadline(900)
def test_many_killed_agents_lose_and_double_no_incident(scene: Scene, agent: Agent, tmp_path: Path) -> None:
    kill_agents(scene, agent, tmp_path, 40)


@pytest.mark.deadline(120)
def test_the_course_of_an_incident_goes_on_after_a_restart(scene: Scene, agent: Agent, tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    holder, waiter = begin(scene)

    def points() -> int:
        with closing(Journal.open(path)) as opened:
            entries, _ = read_entries(each.body for each in opened.fetch_records(kinds=(KIND,)))
        return len(entries[-1].course) if entries else 0

    first = agent(scene.dsn, more=journal(path), prompt=20.0)
    before = wait_until(lambda: (found := points()) >= 5 and found, 30, "five polls in the journal")
    first.end()
    agent(scene.dsn, more=journal(path), prompt=20.0)
    wait_until(lambda: points() > before + 3, 30, "more polls of the second agent")
    report = json.loads(incidents(path, "report", "--format", "json").stdout)
    assert any("a new agent" in each["what"] for each in report["timeline"])
    assert report["ongoing"]
    assert report["times"][2]["note"] == "it is ongoing"
    holder.run("rollback")
    waiter.finish(timeout=30)


@pytest.mark.deadline(180)
def test_an_incident_ends_with_its_server(
    own_server: Callable[..., ThrowawayServer], agent: Agent, tmp_path: Path
) -> None:
    path, file = tmp_path / "journal.db", tmp_path / "one.json.gz"
    server = own_server()
    # Without a scene, which would tidy up on connections that are gone.
    with closing(psycopg.connect(server.dsn)) as holder, closing(psycopg.connect(server.dsn)) as other:
        holder.execute("select pg_advisory_lock(7)")
        waiter = threading.Thread(target=lock_until_lost, args=(other,))
        waiter.start()
        watching = agent(server.dsn, more=journal(path), prompt=20.0)
        watching.wait_for("blocked_sessions", 1, timeout=30)
        [only] = wait_until(lambda: path.exists() and exported(path, file), 30, "an incident")
        server.halt()
        waiter.join()
        watching.wait_for("up", 0, timeout=30)
        server.start()
        watching.wait_for("up", 1, timeout=60)
        wait_for_end(path, only)
        assert exported(path, file) == {only}


def lock_until_lost(connection: psycopg.Connection) -> None:
    with suppress(psycopg.OperationalError):
        connection.execute("select pg_advisory_lock(7)")


@pytest.mark.parametrize("seconds", [-7_200, 7_200])
def test_a_clock_that_jumps_breaks_no_report(seconds: int) -> None:
    stored = incident()
    started, ended = stored.entries
    jumped = replace(ended, at=ended.at + timedelta(seconds=seconds), seconds=max(9.0 + seconds, 0.0))
    stored = replace(stored, entries=(started, jumped))
    story = make_story(stored)
    report = make_incident_report(story, {})
    assert all(each.seconds is None or each.seconds >= 0 for each in report.times)
    assert json.loads(incident_report_json(report))["id"] == stored.id
    assert "## Times" in render_postmortem(story, {})
    assert "Time to recover" in render_incident_report(story, {})


def test_a_course_has_few_points_and_keeps_its_peak() -> None:
    course = IncidentCourse()
    for second in range(20_000):
        course.add_poll(float(second), 500 if second == 7_777 else 3, 20)
    points = course.points
    assert len(points) <= MOST_POINTS
    assert max(each.blocked for each in points) == 500
    assert points[0].seconds == 0.0
    gaps = [after.seconds - before.seconds for before, after in pairwise(points)]
    assert max(gaps) <= 4 * 20_000 / len(points)
    # A clock that was set back adds nothing, and what an earlier agent has kept goes on.
    course.add_poll(5.0, 600, 20)
    assert [each.seconds for each in course.points] == sorted(each.seconds for each in course.points)
    later = IncidentCourse(course.points)
    later.add_poll(30_000.0, 4, 20)
    assert later.points[-1].seconds == 30_000.0


@pytest.mark.deadline(180)
def test_a_copy_of_the_journal_of_an_agent_is_not_empty(scene: Scene, agent: Agent, tmp_path: Path) -> None:
    path, copy = tmp_path / "journal.db", tmp_path / "copy.db"
    watching = agent(scene.dsn, more=journal(path), prompt=20.0)
    watching.wait_for("up", 1)
    only = stage(scene, watching)
    wait_for_end(path, only)

    def has_incident() -> bool:
        """Without the write-ahead log, as `cp journal.db` makes it."""
        copy.unlink(missing_ok=True)
        shutil.copy(path, copy)
        found = incidents(copy, "list")
        assert "copy.db-wal" in found.stderr, found
        return only in found.stdout

    wait_until(has_incident, 60, "the incident in a copy of the file alone")
    watching.end()
    shutil.copy(path, copy)
    found = incidents(copy, "list")
    assert only in found.stdout
    assert found.stderr == ""
