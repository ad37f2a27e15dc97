"""The journal of a process that must go on without it."""

import asyncio
import sqlite3
import threading
from contextlib import closing
from datetime import UTC, datetime

import pytest

from pgdoctor.errors import JournalError
from pgdoctor.journal import keeper as module
from pgdoctor.journal.keeper import Keeper
from pgdoctor.journal.store import Journal

NOW = datetime(2026, 5, 22, tzinfo=UTC)


def test_work_is_done_one_after_the_other(tmp_path):
    keeper = Keeper(tmp_path / "journal.db")

    async def work() -> list[int]:
        return await asyncio.gather(
            *(keeper.run_work(lambda journal: journal.append("a", "k", "", b"{}", NOW)) for _ in range(20))
        )

    assert sorted(asyncio.run(work())) == list(range(1, 21))
    assert keeper.error is None
    keeper.close()


def test_it_fails_in_words_and_comes_back_by_itself(tmp_path, caplog):
    blocking = tmp_path / "below"
    blocking.write_text("")
    keeper = Keeper(blocking / "journal.db")

    async def work() -> None:
        for _ in range(3):
            with pytest.raises(JournalError, match="cannot be opened"):
                await keeper.run_work(lambda journal: journal.append("a", "k", "", b"{}", NOW))
        assert keeper.error
        blocking.unlink()
        assert await keeper.run_work(lambda journal: journal.append("a", "k", "", b"{}", NOW)) == 1

    with caplog.at_level("INFO"):
        asyncio.run(work())
    assert [record.message for record in caplog.records] == [
        "the journal cannot be used",
        "the journal can be used again",
    ]
    keeper.close()


def test_a_disk_that_hangs_holds_nothing_up(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_DEADLINE", 0.05)
    keeper, answers = Keeper(tmp_path / "journal.db"), threading.Event()

    async def work() -> None:
        with pytest.raises(JournalError, match="did not answer within"):
            await keeper.run_work(lambda _: answers.wait(20))
        with pytest.raises(JournalError, match="does not answer"):
            await keeper.run_work(lambda journal: journal.fetch_records())
        answers.set()
        async with asyncio.timeout(20):
            while True:
                try:
                    assert await keeper.run_work(lambda journal: journal.fetch_records()) == []
                except JournalError:
                    await asyncio.sleep(0.01)
                else:
                    return

    asyncio.run(work())
    keeper.close()


@pytest.mark.parametrize("what", ["its log deleted", "its log deleted and it overwritten", "emptied", "deleted"])
def test_committed_records_are_readable_by_other_processes(tmp_path, what):
    path = tmp_path / "journal.db"
    keeper, log = Keeper(path), path.with_name("journal.db-wal")

    def append(journal: Journal) -> int:
        return journal.append("a", "k", "the last one", b"{}", NOW)

    async def work() -> bool:
        await keeper.run_work(append)
        if what == "deleted":
            path.unlink()
        if what.startswith("its log"):
            log.unlink()
        if what.endswith("overwritten"):
            path.write_bytes(b"x" * path.stat().st_size)
        if what == "emptied":
            path.write_bytes(b"")
        try:
            await keeper.run_work(append)
        except JournalError:
            return False
        return True

    if asyncio.run(work()):
        with closing(sqlite3.connect(path)) as other:
            assert other.execute("SELECT count(*) FROM records WHERE subject = 'the last one'").fetchone()[0]
    else:
        assert what in ("its log deleted and it overwritten", "emptied")
    keeper.close()


def test_file_that_others_find_broken_is_found_broken(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_OPENED_AGAIN", 0.0)
    path = tmp_path / "journal.db"
    keeper = Keeper(path)

    async def work() -> None:
        await keeper.run_work(lambda journal: journal.append("a", "k", "", b"{}", NOW))
        with closing(sqlite3.connect(path)) as other:
            other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        with path.open("r+b") as file:
            file.write(b"no database any more")
        with pytest.raises(JournalError, match="damaged"):
            Journal.open(path)
        with pytest.raises(JournalError, match="damaged"):
            await keeper.run_work(lambda journal: journal.fetch_records())
        assert keeper.error

    asyncio.run(work())
    keeper.close()
