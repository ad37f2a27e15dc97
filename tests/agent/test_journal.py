"""A journal that cannot be written: the agent goes on looking, says so, and does nothing that cannot be looked up."""

import resource
import sys
from contextlib import closing, suppress
from datetime import UTC, datetime

import pytest

from pgdoctor.errors import JournalError
from pgdoctor.journal.store import Journal

#: All of it together takes many seconds.
pytestmark = pytest.mark.long

RULE = 'name = "idle"\nclass = "idle_in_transaction"\naction = "terminate"\nmin_wait = "300ms"\nmin_session_age = "0s"'
QUICK = 'min_samples = 2\nstartup_grace = "0s"\nallow_short_waits = true\nallow_superuser = true'
ENFORCE = f'[mitigation]\nmode = "enforce"\n{QUICK}\n[[mitigation.rules]]\n{RULE}\n'
RELEASED = 'actions_total{action="terminate",outcome="released",rule="idle"}'
REFUSED = 'actions_refused_total{reason="audit"}'


MB = 1024 * 1024
SMALLEST = 16 * MB


CANNOT = "the journal cannot be used"


def journal(path) -> str:
    return f'[journal]\npath = "{path}"\n'


def test_a_folder_in_which_nothing_can_be_written(scene, agent):
    # For root too.
    watching = agent(scene.dsn, more=journal("/dev/null/journal.db") + ENFORCE, arguments=("--enforce",))
    watching.wait_for("journal_up", 0)
    scene.admin.execute("create table t ()")
    holder = scene.client("lock table t")
    scene.client().block("select from t")
    watching.wait_for("blocked_sessions", 1)
    goes_on_and_touches_nobody(watching)
    assert holder.run("select 1") == [(1,)]


def test_a_disk_that_is_full_and_has_room_again(scene, agent, tmp_path):
    if sys.platform != "linux":
        pytest.skip("only Linux lets a limit be set on another process")
    watching = agent(scene.dsn, more=journal(tmp_path / "journal.db") + ENFORCE, arguments=("--enforce",))
    watching.wait_for("up", 1)
    assert watching.metric("journal_up") == 1
    _, most = resource.prlimit(watching.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(watching.pid, resource.RLIMIT_FSIZE, (0, most))
    scene.admin.execute("create table t ()")
    holder = scene.client("lock table t")
    waiter = scene.client().block("select from t")
    watching.wait_for("journal_up", 0)
    goes_on_and_touches_nobody(watching)
    assert holder.run("select 1") == [(1,)]
    resource.prlimit(watching.pid, resource.RLIMIT_FSIZE, (most, most))
    waiter.finish(timeout=20)
    watching.wait_for(RELEASED, 1)
    watching.wait_for("journal_up", 1)


def test_journal_full_of_decisions_stops_acting_until_it_may_be_bigger(scene, agent, tmp_path):
    path = tmp_path / "journal.db"
    with closing(Journal.open(path, SMALLEST)) as filled:
        fill(filled)
    small = f'{journal(path)}max_size = "{SMALLEST // MB}MB"\n{ENFORCE}'
    watching = agent(scene.dsn, more=small, arguments=("--enforce",))
    scene.admin.execute("create table t ()")
    holder = scene.client("lock table t")
    waiter = scene.client().block("select from t")
    watching.wait_for("blocked_sessions", 1)
    watching.wait_for('findings{kind="journal_full"}', 1)
    now = watching.wait_for_polls(8)
    assert now[f"pgdoctor_{RELEASED}"] == 0
    assert now[f"pgdoctor_{REFUSED}"] > 0
    assert now["pgdoctor_journal_up"] == 0
    assert [line["event"] for line in watching.lines if "the journal can" in line["event"]] == [CANNOT]
    assert not any("mitigation intent" in line["event"] for line in watching.lines)
    assert holder.run("select 1") == [(1,)]
    assert waiter.busy
    bigger = agent(scene.dsn, more=f"{journal(path)}{ENFORCE}", arguments=("--enforce",))
    watching.end()
    bigger.wait_for(RELEASED, 1, timeout=20)
    waiter.finish(timeout=20)


def fill(journal: Journal) -> None:
    """With decisions, to the last byte."""
    for size in (100_000, 1_000, 1):
        with suppress(JournalError):
            while journal.append("elsewhere", "intent", "decision", b"x" * size, datetime.now(UTC)):
                pass


def goes_on_and_touches_nobody(watching) -> None:
    now = watching.wait_for_polls(5)
    assert now["pgdoctor_up"] == 1
    assert now["pgdoctor_blocked_sessions"] == 1
    assert now[f"pgdoctor_{REFUSED}"] > 0
    assert now[f"pgdoctor_{RELEASED}"] == 0
    assert watching.get("/health/deep").status_code == 200
    told = [line for line in watching.wait_for_lines("the journal cannot be used") if "journal" in line["event"]]
    assert len(told) == 1
