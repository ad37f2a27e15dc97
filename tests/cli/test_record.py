"""`pgdoctor record` on real servers: an incident, a quiet server, a standby, and how it ends."""

import json
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from pgdoctor.demo.throwaway_server import ThrowawayServer
from tests.agent.test_incident_survival import lock_until_lost
from tests.cli.test_bad_input import complains, pgdoctor
from tests.cli.test_incidents import incidents
from tests.scenes import Scene
from tests.scenes.client import wait_until
from tests.standby import standby_of

pytestmark = pytest.mark.deadline(180)


def recording(dsn: str, out: Path, *arguments: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "pgdoctor", "record", "--out", str(out), "--interval", "200ms", *arguments, dsn]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: "subprocess.Popen[str]") -> str:
    """End it as Ctrl-C does; what it printed."""
    process.send_signal(signal.SIGINT)
    said, complaints = process.communicate(timeout=60)
    assert process.returncode == 0, complaints
    assert "Traceback" not in complaints
    return said


def test_a_recording_has_the_incident_and_no_literal(scene: Scene, tmp_path: Path) -> None:
    out = tmp_path / "rec.json.gz"
    scene.admin.execute("create table t (id int primary key, v text); insert into t values (1, 'a')")
    holder = scene.client("update t set v = 'zq7secret' where id = 1")
    waiter = scene.client().block("update t set v = 'zq7secret' where id = 1")
    process = recording(scene.dsn, out, "--for", "90s")
    wait_until(lambda: scene.admin.execute(_POLLING).fetchone()[0], 60, "polls")
    scene.admin.execute("select pg_sleep(4)")
    said = finish(process)
    assert "1 incident, " in said
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    found = json.loads(pgdoctor("diagnose", "--from", str(out), "--format", "json").stdout)
    assert found["blockers"][0]["class"] == "idle_in_transaction"
    assert "zq7secret" not in subprocess.run(["gzip", "-dc", out], capture_output=True, text=True, check=True).stdout
    journal = tmp_path / "journal.db"
    assert incidents(journal, "import", str(out)).returncode == 0
    assert "ongoing" in incidents(journal, "list").stdout
    assert int(said.split("incident, ")[1].split()[0]) >= 2
    holder.run("rollback")
    waiter.finish(timeout=30)


_POLLING = "select exists (select from pg_stat_activity where application_name like 'pgdoctor%')"


def test_a_quiet_server_leaves_one_snapshot(scene: Scene, tmp_path: Path) -> None:
    out = tmp_path / "rec.json.gz"
    process = recording(scene.dsn, out, "--for", "2s")
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "no session was blocked, 1 snapshot, " in said
    assert "No session is blocked" in pgdoctor("diagnose", "--from", str(out), "--format", "tree").stdout
    complains(incidents(tmp_path / "j.db", "import", str(out)), 2, "has no incident")


def test_wrong_usage_is_one_line_before_anything_is_recorded(tmp_path: Path) -> None:
    out = tmp_path / "rec.json.gz"
    for arguments, words in ((("--for", "3"), "unit"), (("--interval", "1ms"), "at least 200ms")):
        complains(pgdoctor("record", "--out", str(out), *arguments, "host=127.0.0.1 port=1"), 2, words)
    out.write_text("")
    complains(pgdoctor("record", "--out", str(out), "host=127.0.0.1 port=1"), 2, "is there already")
    result = pgdoctor("record", "--out", str(tmp_path / "other.gz"), "host=127.0.0.1 port=1")
    assert result.returncode == 3
    assert not (tmp_path / "other.gz").exists()


@pytest.mark.long
def test_a_standby_is_recorded(own_server: Callable[..., ThrowawayServer], tmp_path: Path) -> None:
    out = tmp_path / "rec.json.gz"
    with ExitStack() as stack:
        primary = own_server()
        standby = stack.enter_context(standby_of(primary))
        # Its passwords are those of the primary.
        dsn = make_conninfo(primary.dsn, port=standby.port)
        holder, other, admin = (stack.enter_context(closing(psycopg.connect(dsn, autocommit=True))) for _ in range(3))
        holder.execute("select pg_advisory_lock(7)")
        waiter = threading.Thread(target=lock_until_lost, args=(other,))
        waiter.start()
        process = recording(dsn, out, "--for", "60s")
        wait_until(lambda: admin.execute(_POLLING).fetchone()[0], 60, "polls")
        admin.execute("select pg_sleep(3)")
        said = finish(process)
        holder.execute("select pg_advisory_unlock(7)")
        waiter.join()
    assert "1 incident, " in said
    found = json.loads(pgdoctor("diagnose", "--from", str(out), "--format", "json").stdout)
    assert found["server"]["in_recovery"]
    assert found["blockers"][0]["class"] == "advisory_lock"
