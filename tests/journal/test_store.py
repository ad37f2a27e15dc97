"""The journal's file, as real processes use it and real disks fail it."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pgdoctor.errors import JournalError
from pgdoctor.journal.location import default_path
from pgdoctor.journal.store import VERSION, Journal

NOON = datetime(2026, 5, 22, 12, 0, 0, 123456, UTC)

APPENDS = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from pgdoctor.journal.store import Journal
journal = Journal.open(Path(sys.argv[1]))
for number in range(int(sys.argv[2])):
    print(journal.append("server", "kind", sys.argv[3], b"{}", datetime.now(UTC)), flush=True)
"""


def appending(path: Path, number: int, subject: str) -> "subprocess.Popen[str]":
    arguments = [sys.executable, "-c", APPENDS, str(path), str(number), subject]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)


@pytest.fixture
def journal(tmp_path: Path):
    opened = Journal.open(tmp_path / "below" / "journal.db")
    yield opened
    opened.close()


def test_records_come_back_as_they_were_written(journal):
    first = journal.append("a", "intent", "7-1-cancel", b'{"pid": 7}', NOON)
    journal.append("b", "intent", "8-1-cancel", b"{}", NOON)
    journal.append("a", "outcome", "7-1-cancel", b"{}", NOON + timedelta(seconds=1))
    (record,) = journal.fetch_records("a", kinds=["intent"])
    assert (record.id, record.at, record.subject, record.body) == (first, NOON, "7-1-cancel", b'{"pid": 7}')
    assert [each.kind for each in journal.fetch_records(subject="7-1-cancel")] == ["intent", "outcome"]
    assert [each.server for each in journal.fetch_records(after=first)] == ["b", "a"]
    assert [each.kind for each in journal.fetch_records(since=NOON + timedelta(seconds=1))] == ["outcome"]


def test_replaced_record_goes_with_the_new_one(journal):
    first = journal.append("a", "incident", "i1", b"1", NOON)
    other = journal.append("a", "intent", "i1", b"2", NOON)
    second = journal.append("a", "incident", "i1", b"3", NOON, replacing=first)
    journal.append("a", "incident", "i2", b"4", NOON, replacing=second)
    journal.append("a", "incident", "i1", b"5", NOON, replacing=other)
    assert [each.body for each in journal.fetch_records()] == [b"2", b"3", b"4", b"5"]


def test_old_history_is_forgotten_and_recent_history_stays(journal):
    journal.append("a", "intent", "", b"{}", NOON)
    journal.append("a", "intent", "", b"{}", NOON + timedelta(hours=1))
    journal.keep("a", "incident", b"snapshot", NOON)
    journal.remember("a", "baseline", b"old")
    journal.remember("a", "baseline", b"new")
    assert journal.forget(NOON + timedelta(minutes=1)) == 2
    assert [each.at for each in journal.fetch_records()] == [NOON + timedelta(hours=1)]
    assert journal.fetch_kept("incident") == []
    assert journal.recall("a", "baseline") == b"new"
    assert journal.recall("b", "baseline") is None


def test_record_without_an_end_is_not_forgotten(journal):
    for kind in ("intent", "opening", "disarm"):
        journal.append("a", kind, "", b"{}", NOON)
    assert journal.forget(NOON + timedelta(days=99), but=("opening", "disarm")) == 1
    assert [each.kind for each in journal.fetch_records()] == ["opening", "disarm"]


def test_record_ids_are_not_reused_for_readers(journal):
    """Else what comes after a quiet month, a disarm say, would be taken for read."""
    for _ in range(3):
        last = journal.append("a", "intent", "", b"{}", NOON)
    journal.forget(NOON + timedelta(days=30))
    disarm = journal.append("a", "disarm", "", b"{}", NOON + timedelta(days=31))
    assert [each.id for each in journal.fetch_records(after=last)] == [disarm]


def test_snapshots_belong_to_an_incident_of_a_server(journal):
    journal.keep("a", "one", b"first", NOON)
    journal.keep("a", "one", b"second", NOON)
    journal.keep("b", "one", b"another server's", NOON)
    assert [each.body for each in journal.fetch_kept("one", "a")] == [b"first", b"second"]
    assert len(journal.fetch_kept("one")) == 3


def test_other_users_may_not_read_it(journal):
    assert journal.path.stat().st_mode & 0o777 == 0o600
    assert journal.path.parent.stat().st_mode & 0o777 == 0o700
    beside = journal.path.with_name("journal.db-wal")
    journal.append("a", "intent", "", b"{}", NOON)
    assert beside.stat().st_mode & 0o777 == 0o600


def test_several_processes_make_and_fill_it_at_once(tmp_path):
    writers = [appending(tmp_path / "journal.db", 20, str(number)) for number in range(4)]
    ids = [int(line) for writer in writers for line in writer.communicate()[0].splitlines()]
    assert [writer.returncode for writer in writers] == [0, 0, 0, 0]
    assert sorted(ids) == list(range(1, 81))


def test_appended_records_survive_a_kill(tmp_path):
    path = tmp_path / "journal.db"
    writer = appending(path, 1_000_000, "")
    said = [int(writer.stdout.readline()) for _ in range(20)]
    writer.send_signal(signal.SIGKILL)
    said += [int(line) for line in writer.communicate()[0].splitlines() if line]
    reopened = Journal.open(path)
    assert [record.id for record in reopened.fetch_records()][: len(said)] == said
    reopened.close()


@pytest.mark.long
@pytest.mark.deadline(900)
def test_two_hundred_kills_lose_no_acknowledged_record(tmp_path):
    path, chance, known = tmp_path / "journal.db", random.Random(200), list[int]()
    for _ in range(200):
        writer = appending(path, 1_000_000, "")
        known.append(int(writer.stdout.readline()))
        time.sleep(chance.random() * 0.05)
        writer.send_signal(signal.SIGKILL)
        # The last line may be cut off.
        known += [int(line) for line in writer.communicate()[0].splitlines(keepends=True) if line.endswith("\n")]
        with closing(Journal.open(path)) as reopened:
            found = [record.id for record in reopened.fetch_records(after=max(known[-500:][0] - 1, 0))]
        assert set(known[-500:]) <= set(found)
        assert len(found) == len(set(found))
    assert len(known) >= 200


def test_imported_records_have_no_age(journal):
    for server in ("a", "imported:a"):
        journal.append(server, "incident", "1", b"{}", NOON)
        journal.keep(server, "1", b"body", NOON)
    journal.append("a", "incident", "2", b"{}", NOON + timedelta(days=2))
    assert journal.forget(NOON + timedelta(days=1), apart="imported:") == 2
    assert [each.server for each in journal.fetch_records()] == ["imported:a", "a"]


def test_file_that_is_no_journal_is_refused_in_one_line(tmp_path):
    (tmp_path / "text").write_text("this is not a database, " * 100)
    with pytest.raises(JournalError, match=r"text is not a journal, or it is damaged: .*; move it away"):
        Journal.open(tmp_path / "text")
    with pytest.raises(JournalError, match="cannot be opened: Is a directory"):
        Journal.open(tmp_path)
    with pytest.raises(JournalError, match=r"cannot be opened: (File exists|Not a directory)"):
        Journal.open(tmp_path / "text" / "journal.db")


def test_another_programs_database_is_left_alone(tmp_path):
    path = tmp_path / "shop.db"
    with closing(sqlite3.connect(path)) as shop:
        shop.execute("create table orders (id int)")
        shop.commit()
    before = path.read_bytes()
    with pytest.raises(JournalError, match="another program's database"):
        Journal.open(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "planted",
    [
        "ALTER TABLE records RENAME TO kept; CREATE VIEW records AS SELECT *, zeroblob(1e9) AS more FROM kept",
        "CREATE TRIGGER planted AFTER INSERT ON records BEGIN DELETE FROM records; END",
        "ALTER TABLE snapshots ADD COLUMN more BLOB AS (zeroblob(1000000000))",
    ],
)
def test_journal_that_computes_is_refused(tmp_path, planted):
    """A journal may come from others, and each of its rows might fill the memory."""
    path = tmp_path / "journal.db"
    Journal.open(path).close()
    with closing(sqlite3.connect(path)) as db:
        db.executescript(planted)
    with pytest.raises(JournalError, match="a view, a trigger or a computed column"):
        Journal.open(path)


def test_a_newer_format_is_left_alone(tmp_path):
    path = tmp_path / "journal.db"
    Journal.open(path).close()
    with sqlite3.connect(path) as database:
        database.execute(f"PRAGMA user_version = {VERSION + 1}")
    database.close()
    with pytest.raises(JournalError, match=f"is of format {VERSION + 1}, this pgdoctor reads {VERSION}"):
        Journal.open(path)


def test_a_full_disk_is_said_and_what_was_there_stays(journal):
    journal.append("a", "intent", "", b"{}", NOON)
    pages = journal._connection.execute("PRAGMA page_count").fetchone()[0]
    journal._connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(JournalError, match="the disk is full"):
        journal.append("a", "intent", "", b"x" * 100_000, NOON)
    assert len(journal.fetch_records()) == 1


@pytest.mark.parametrize(
    ("environ", "path"),
    [
        ({"STATE_DIRECTORY": "/var/lib/pgdoctor:/other", "HOME": "/root"}, "/var/lib/pgdoctor/journal.db"),
        ({"XDG_STATE_HOME": "/state", "HOME": "/root"}, "/state/pgdoctor/journal.db"),
        ({"HOME": "/root"}, "/root/.local/state/pgdoctor/journal.db"),
        ({}, "/nonexistent/.local/state/pgdoctor/journal.db"),
    ],
)
def test_it_lies_where_services_keep_their_state(environ, path):
    assert default_path(environ) == Path(path)


def test_the_clock_of_the_file_keeps_microseconds(journal):
    moments = [NOON + timedelta(microseconds=number) for number in range(0, 1_000_000, 99_991)]
    for moment in moments:
        journal.append("a", "tick", "", b"{}", moment)
    assert [record.at for record in journal.fetch_records()] == moments


def test_it_can_be_read_while_another_writes(tmp_path):
    path = tmp_path / "journal.db"
    writer = appending(path, 1_000_000, "")
    assert writer.stdout.readline() == "1\n"
    reader = Journal.open(path)
    before = len(reader.fetch_records())
    while len(reader.fetch_records()) <= before:
        os.sched_yield()
    writer.kill()
    writer.communicate()
    reader.close()
