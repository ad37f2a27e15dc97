"""Logs that are cut off, interleaved, endless or made to deceive: they end nothing, and cost no more than others."""

import re
import resource
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pgdoctor.serverlog.events import LockAcquired, LockWait, Origin
from pgdoctor.serverlog.incident_assembler import MOST_INCIDENTS, MOST_WAITS, Assembler
from pgdoctor.serverlog.judgement import judge_incident
from tests.cli.test_read import LOG
from tests.serverlog.logged import read_outcome

_STARTS = re.compile(r"^\d{4}-\d\d-\d\d \S+ UTC \[(\d+)\]", re.MULTILINE)


def entries(log: str) -> list[str]:
    """The lines of a log, each with those that continue it."""
    found: list[str] = []
    for line in log.splitlines(keepends=True):
        if line.startswith("\t"):
            found[-1] += line
        else:
            found.append(line)
    return found


def interleaved(log: str) -> str:
    """Lines of two processes in turn, each process's own in their order."""
    queues: dict[str, list[str]] = {}
    for line in entries(log):
        queues.setdefault(_STARTS.match(line)[1], []).append(line)
    mixed = []
    while any(queues.values()):
        mixed += [queue.pop(0) for queue in queues.values() if queue]
    return "".join(mixed)


def test_interleaved_entries_of_several_processes_are_distinguished() -> None:
    waits = "".join(line for line in entries(LOG) if "[2333]" in line or "[2336]" in line)
    mixed = interleaved(waits)
    assert mixed != waits
    straight, crossed = read_outcome(waits.encode()).incidents, read_outcome(mixed.encode()).incidents
    statements = {each.statement for each in straight[0].groups}
    assert len(statements) == 2
    assert {each.statement for each in crossed[0].groups} == statements
    assert crossed[0].session_seconds == straight[0].session_seconds


@pytest.mark.parametrize("end", range(0, len(LOG), 97))
def test_log_that_is_cut_off_anywhere_is_read(end: int) -> None:
    for part in (LOG[:end], LOG[end:]):
        if len(part) > 200:
            outcome = read_outcome(part.encode(), "%m [%p] %q%u@%d/%a ")
            assert all(judge_incident(each) for each in outcome.incidents)


def test_statement_that_pretends_to_be_a_log_makes_no_incident() -> None:
    """The server puts a tab in front of each further line of a text."""
    fake = "process 1 still waiting for ShareLock on transaction 1 after 1000.000 ms"
    line = "2026-11-30 03:17:39.505 UTC [5] a@b/c "
    text = f"{line}ERROR:  x\n{line}STATEMENT:  select 1\n\t2026-11-30 03:17:39.505 UTC [1] a@b/c LOG:  {fake}\n"
    assert read_outcome(text.encode()).incidents_total == 0


def test_deadlock_without_its_report_ends_its_wait() -> None:
    part = LOG[
        LOG.index("2026-11-30 03:18:43") : LOG.index("2026-11-30 03:18:43.539 UTC [2427] app@shop/transfer ERROR")
    ]
    later = "2026-11-30 12:00:00.000 UTC [1] LOG:  database system is ready to accept connections\n"
    for text in (part, part + later):
        [incident] = read_outcome(text.encode()).incidents
        assert (incident.outcomes, incident.still_waiting) == ({"deadlock": 1}, 0)
        assert incident.session_seconds == pytest.approx(1.000094)


def test_restart_ends_a_wait_at_no_known_time() -> None:
    part = LOG[LOG.index("2026-11-30 03:17:39.505 UTC [2333] postgres@shop/ui LOG") : LOG.index("2026-11-30 03:17:41")]
    for message, least in (("is ready to accept connections", 2.0), ("is shut down", 31_000.0)):
        later = f"2026-11-30 12:00:00.000 UTC [1] LOG:  database system {message}\n"
        [incident] = read_outcome((part + later).encode()).incidents
        assert incident.outcomes == {"server_stopped": 2}
        assert least < incident.session_seconds < 3 * least
        assert incident.unseen_ends == (2 if least < 10 else 0)


def test_flood_of_waits_has_a_bound() -> None:
    wait = "process {0} still waiting for ShareLock on transaction {0} after 1.000 ms"
    line = f"2026-11-30 03:17:39.505 UTC [{{0}}] a@b/c LOG:  {wait}\n"
    text = "".join(line.format(pid) for pid in range(1, MOST_WAITS + 101))
    outcome = read_outcome(text.encode())
    assert outcome.dropped == 100
    assert len(outcome.incidents) == MOST_INCIDENTS


def test_incident_without_an_end_has_a_bound() -> None:
    """Sessions wait for one transaction after the other, each for another one, and all behind one holder."""
    assembler = Assembler()
    at = datetime(2026, 11, 30, tzinfo=UTC)
    for number in range(30_000):
        at += timedelta(seconds=1)
        origin = Origin(at, 10 + number % 50, statement=f"update t set v = {number}")
        target = f"transaction {number}"
        assembler.add_event(LockWait(origin, "ShareLock", target, 1.0, holders=(7, 100 + number), queue=(origin.pid,)))
        assembler.add_event(LockAcquired(origin, "ShareLock", target, 1.5))
    assert len(assembler._by_key) < 12_000
    [incident] = assembler.finish(at).incidents
    assert (incident.waits, incident.outcomes) == (30_000, {"acquired": 30_000})
    assert len(incident.groups) <= 201


def test_crowd_at_one_lock_costs_little() -> None:
    """A thousand sessions queue for one table; each entry names all of them."""
    queue = ", ".join(map(str, range(2, 1_002)))
    line = (
        "2026-11-30 03:17:39.505 UTC [{0}] a@b/c LOG:  process {0} still waiting for RowExclusiveLock on relation 9 of "
        "database 1 after 1000.000 ms\n2026-11-30 03:17:39.505 UTC [{0}] a@b/c DETAIL:  Process holding the lock: 1. "
        "Wait queue: {1}.\n2026-11-30 03:17:39.505 UTC [{0}] a@b/c STATEMENT:  insert into t values (1)\n"
    )
    text = "".join(line.format(pid, queue) for pid in range(2, 1_002)).encode()
    began = time.process_time()
    [incident] = read_outcome(text).incidents
    judged = judge_incident(incident)
    assert incident.peak == 1_000
    assert judged.leading.blocked_sessions == 1_000
    assert time.process_time() - began < 60  # 6 MB.


@pytest.mark.long
@pytest.mark.deadline(180)
def test_memory_has_a_bound(tmp_path: Path) -> None:
    """200 MB of an ordinary log in less than 200 MB, and 5 MB a second at the least on the busiest machine."""
    file = tmp_path / "big.log"
    noise = "2026-11-30 03:17:38.000 UTC [7] a@b/c LOG:  duration: 1.000 ms  statement: select 1\n" * 20_000
    with file.open("w") as log:
        for _ in range(120):
            log.write(noise + LOG)
    code = (
        "import sys; from pgdoctor.cli import cli; cli.main(sys.argv[1:], standalone_mode=False); "
        "print(open('/proc/self/status').read().partition('VmHWM:')[2].split()[0], file=sys.stderr)"
    )
    command = [sys.executable, "-c", code, "read", str(file), "--top", "0"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before
    size = file.stat().st_size / (1 << 20)
    assert int(done.stderr.split()[-1]) < 200_000
    assert size / seconds > 5, f"{size / seconds:.0f} MB/s"
