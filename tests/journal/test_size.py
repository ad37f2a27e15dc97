"""H77: a role without privileges makes the journal grow by 2 GB a day, and a full disk disarms mitigation."""

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pgdoctor.agent.stored_incidents import IMPORTED_DEED
from pgdoctor.errors import JournalError
from pgdoctor.incidents.incident_log import KIND
from pgdoctor.incidents.snapshot_sampling import SnapshotQuota
from pgdoctor.journal.store import EXPENDABLE, MAX_LOG, Journal
from pgdoctor.mitigation import audit_records, rehearsal

NOON = datetime(2026, 5, 22, 12, 0, 0, 0, UTC)
MB = 1024 * 1024
LIMIT = 16 * MB


@pytest.fixture
def journal(tmp_path: Path):
    with closing(Journal.open(tmp_path / "journal.db", LIMIT)) as opened:
        yield opened


def on_disk(journal: Journal) -> int:
    return sum(file.stat().st_size for file in journal.path.parent.iterdir() if not file.name.endswith("-shm"))


def count(journal: Journal, table: str) -> int:
    with closing(sqlite3.connect(journal.path)) as db:
        return int(db.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


@pytest.mark.long
def test_a_flood_of_incidents_stays_below_the_limit_and_no_decision_is_lost(journal):
    """500 incidents with 42 MB of snapshots, and a decision now and then."""
    decisions, most = [], 0
    for number in range(500):
        at = NOON + timedelta(seconds=10 * number)
        journal.append("a", KIND, f"incident-{number}", b"{}" * 200, at)
        for size in (5_000, 60_000, 20_000):
            journal.keep("a", f"incident-{number}", os.urandom(size), at)
        if number % 25 == 0:
            decisions.append(journal.append("a", "intent", f"decision-{number}", b"x" * 8000, at))
            most = max(most, on_disk(journal))
    usage = journal.measure_usage()
    assert max(most, on_disk(journal)) <= LIMIT + MAX_LOG
    assert usage.used <= LIMIT * 0.9
    assert usage.lasting >= 8000 * len(decisions)
    assert [each.id for each in journal.fetch_records(kinds=("intent",))] == decisions
    assert [len(each.body) for each in journal.fetch_kept("incident-499")] == [5_000, 60_000, 20_000], (
        "the newest is whole"
    )
    [peak] = journal.fetch_kept("incident-400")
    assert len(peak.body) == 60_000, "of an older one its biggest is left"
    assert journal.fetch_kept("incident-0") == []


def test_records_of_incidents_go_after_all_snapshots_and_the_oldest_first(journal):
    first = journal.append("a", KIND, "first", b"{}", NOON)
    journal.keep("a", "first", b"snapshot", NOON)
    while (
        journal.append("a", "intent", "decision", b"x" * 200_000, NOON) and journal.measure_usage().used < LIMIT * 0.88
    ):
        pass
    for number in range(40):
        assert journal.append("a", KIND, f"{number}", b"y" * 20_000, NOON + timedelta(seconds=number))
    assert count(journal, "snapshots") == 0
    kept = journal.fetch_records(kinds=(KIND,))
    assert first not in [each.id for each in kept]
    assert kept[-1].subject == "39"


def test_a_journal_full_of_decisions_says_so_and_takes_no_incident(journal):
    written = 0

    def fill() -> None:
        nonlocal written
        for _ in range(1000):
            written = journal.append("a", "intent", "decision", b"x" * 100_000, NOON)

    with pytest.raises(JournalError, match=r"\[journal\] max_size is reached") as raised:
        fill()
    assert "\n" not in str(raised.value)
    assert on_disk(journal) <= LIMIT + MAX_LOG
    assert len(journal.fetch_records(kinds=("intent",))) == written, "none was deleted for another one"
    assert journal.append("a", KIND, "incident", b"{}", NOON) == 0
    assert journal.keep("a", "incident", b"snapshot", NOON) is False
    assert journal.forget(NOON + timedelta(days=1)) > 0
    assert journal.append("a", "intent", "decision", b"x" * 100_000, NOON) > written, "it can be used again"


def test_endless_reader_lets_the_log_grow_within_a_limit(journal):
    journal.keep("a", "before", b"snapshot", NOON)
    with closing(sqlite3.connect(journal.path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM snapshots").fetchall()
        kept = [journal.keep("a", f"{number}", os.urandom(400_000), NOON) for number in range(100)]
        assert kept[0]
        assert not kept[-1]
        assert journal.append("a", "intent", "decision", b"{}", NOON), "a decision is still written"
        assert on_disk(journal) <= LIMIT + MAX_LOG + MB
        reader.execute("ROLLBACK")
    assert journal.keep("a", "after", b"snapshot", NOON)


def test_a_lower_limit_gives_back_what_is_above_it(tmp_path):
    path = tmp_path / "journal.db"
    with closing(Journal.open(path, 4 * LIMIT)) as journal:
        for number in range(300):
            journal.keep("a", f"{number}", os.urandom(100_000), NOON + timedelta(seconds=number))
    with closing(Journal.open(path, LIMIT)) as journal:
        while journal.shrink():
            pass
        assert on_disk(journal) <= LIMIT + MAX_LOG
        assert journal.fetch_kept("299")


@pytest.mark.long
def test_a_file_of_an_older_version_is_brought_below_the_limit(tmp_path):
    """Its pages cannot be given back one by one: it is rewritten, once."""
    path = tmp_path / "journal.db"
    with closing(Journal.open(path, 4 * LIMIT)) as journal:
        journal.append("a", "intent", "decision", b"{}", NOON)
        for number in range(250):
            journal.keep("a", f"{number}", os.urandom(100_000), NOON + timedelta(seconds=number))
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        for statement in ("journal_mode = DELETE", "auto_vacuum = NONE"):
            db.execute(f"PRAGMA {statement}").fetchall()
        db.execute("VACUUM")
        assert db.execute("PRAGMA auto_vacuum").fetchone() == (0,)
    with closing(Journal.open(path, LIMIT)) as journal:
        while journal.shrink():
            pass
        assert on_disk(journal) <= LIMIT + MAX_LOG
        assert [each.subject for each in journal.fetch_records()] == ["decision"]
        assert journal.keep("a", "now", b"snapshot", NOON)


_FLOOD = """
import os, sys
from datetime import UTC, datetime
from pathlib import Path
from pgdoctor.journal.store import Journal
journal = Journal.open(Path(sys.argv[1]), 16 * 1024 * 1024)
for number in range(100_000):
    print(journal.append("a", "intent", "decision", b"{}", datetime.now(UTC)), flush=True)
    journal.keep("a", str(number), os.urandom(100_000), datetime.now(UTC))
"""


@pytest.mark.long
def test_a_kill_in_the_middle_of_making_room_loses_no_decision(tmp_path):
    path = tmp_path / "journal.db"
    with subprocess.Popen([sys.executable, "-c", _FLOOD, str(path)], stdout=subprocess.PIPE, text=True) as flooding:
        told = []
        for line in flooding.stdout:
            told.append(int(line))
            if len(told) == 200:
                os.kill(flooding.pid, signal.SIGKILL)
                break
        told += [int(line) for line in flooding.stdout if line.endswith("\n")]
    with closing(Journal.open(path, LIMIT)) as journal:
        assert [each.id for each in journal.fetch_records(kinds=("intent",))][: len(told)] == told
        assert journal.fetch_kept("0") == []
        assert on_disk(journal) <= LIMIT + MAX_LOG
        with closing(sqlite3.connect(path)) as db:
            assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_incidents_make_room_and_nothing_else_does():
    assert EXPENDABLE == (KIND, rehearsal.KIND, IMPORTED_DEED)
    assert not set(EXPENDABLE) & {*audit_records.KINDS, *audit_records.LASTING}


def test_small_incidents_on_end_keep_no_big_one_out():
    quota = SnapshotQuota(20)
    admitted = [quota.admits(f"small-{number}", 2, float(number)) for number in range(1000)]
    assert sum(admitted) == 20
    assert quota.admits("small-3", 3, 1000.0), "one that is kept is kept to its end"
    assert quota.admits("big", 40, 1000.0)
    assert quota.admits("small-again", 2, 3700.0)
