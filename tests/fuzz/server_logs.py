"""Logs and saved rows that are cut, shuffled or made to deceive, through all that reads them."""

import csv
import io
import json
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pgdoctor.errors import UsageError
from pgdoctor.render.live.cells import Span
from pgdoctor.render.log_report import LogSource, log_report_json, make_log_report
from pgdoctor.render.log_text import log_lines
from pgdoctor.serverlog.incident_assembler import Assembler, Outcome
from pgdoctor.serverlog.judgement import judge_incident
from pgdoctor.serverlog.languages import find_language
from pgdoctor.serverlog.reading import detect_format, last_time
from pgdoctor.serverlog.row_incident import judge_rows
from pgdoctor.serverlog.saved_tables import find_tables
from pgdoctor.serverlog.scanner import Scanner
from tests.cli.test_read import LOG
from tests.fuzz.mutating import HOSTILE, mutated
from tests.fuzz.trial import Trial

NAME = "server logs"

_PIECES = (
    "2026-11-30 03:17:39.505 UTC [2333] a@b/c LOG:  ",
    "process 2333 still waiting for ShareLock on transaction 7 after 99999999999.999 ms",
    "process 0 acquired AccessShareLock on relation 4294967296 of database 1 after 0.001 ms",
    "DETAIL:  Process holding the lock: 2333. Wait queue: 2333, 2333, 0.",
    "DETAIL:  Processes holding the lock: 1, 2, 3, 4. Wait queue: .",
    "Process 1 waits for X on y; blocked by process 1.\n\t",
    "ERROR:  deadlock detected",
    "FATAL:  terminating connection due to administrator command",
    "LOG:  database system is shut down",
    'SQL statement "',
    "9999-99-99 99:99:99.999 XYZ ",
    '"",""',
    "[[[[",
    "{",
    "\n\t",
    "\n",
)


ROWS = """\
 pid | locktype | relation | mode                | granted | state  | query               | waitstart
-----+----------+----------+---------------------+---------+--------+---------------------+------------------------
 11  | relation | 16385    | AccessShareLock     | t       | active | select from orders  |
 12  | relation | 16385    | AccessExclusiveLock | f       | active | alter table orders +| 2026-11-30 12:47:14+00
     |          |          |                     |         |        |  add c int          |
 13  | relation | 16385    | RowExclusiveLock    | f       | active | delete from orders  | 2026-11-30 12:47:15+00
(3 rows)
"""


def as_rows_of_json(text: str) -> str:
    """The rows as one array."""
    [table] = find_tables(text)
    return json.dumps(list(table.rows))


def as_rows_of_csv(text: str) -> str:
    """The rows as CSV with a header."""
    [table] = find_tables(text)
    out = io.StringIO()
    writer = csv.DictWriter(out, sorted(table.columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows(table.rows)
    return out.getvalue()


def as_csv(log: str) -> str:
    """The first lines of a log as csvlog."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n", quoting=csv.QUOTE_ALL)
    for line in log.splitlines():
        head, _, message = line.partition(" LOG:  ")
        if message:
            cells = [""] * 26
            cells[0], cells[3], cells[11], cells[12], cells[13] = head[:27], "7", "LOG", "00000", message
            row = io.StringIO()
            csv.writer(row, lineterminator="\n", quoting=csv.QUOTE_ALL).writerow(cells[13:])
            out.write(f'{head[:27]},"a","b",7,,,,,,,,LOG,00000,{row.getvalue()}')
    del writer
    return out.getvalue()


def as_json(log: str) -> str:
    """The first lines of a log as jsonlog."""
    rows = (line.partition(" LOG:  ") for line in log.splitlines() if " LOG:  " in line)
    return "".join(
        json.dumps({"timestamp": head[:27], "pid": 7, "error_severity": "LOG", "message": message}) + "\n"
        for head, _, message in rows
    )


def shuffled(rng: random.Random, text: str) -> str:
    """Lines of several processes between each other, or in any order."""
    lines = text.splitlines(keepends=True)
    for _ in range(rng.randint(0, 6)):
        one, other = rng.randrange(len(lines)), rng.randrange(len(lines))
        lines[one], lines[other] = lines[other], lines[one]
    return "".join(lines)


def read_rows(data: bytes, width: int | None) -> str:
    """All that is printed of saved rows."""
    judged = judge_rows(find_tables(data.decode(errors="replace")))
    if judged is None:
        return "no wait"
    outcome = Outcome((judged.incident,), 1, 1, 0, 0.0, 0)
    report, incidents = make_log_report(outcome, [judged], LogSource(("x",), ("rows of pg_locks",)))
    lines: Iterator[Span] = log_lines(report, incidents, 10, width)
    return "\n".join((*(line.text for line in lines), log_report_json(report).decode()))


def read(data: bytes, size: int, width: int | None) -> str:
    """All that is printed of a log; why it is refused."""
    try:
        log = detect_format(data)
    except UsageError as error:
        return str(error)
    if log is None:
        return read_rows(data, width)
    find_language(data)
    scanner = Scanner(log)
    assembler = Assembler(scanner)
    for begin in range(0, len(data), size):
        for event in scanner.scan_block(data[begin : begin + size]):
            assembler.add_event(event)
    for event in scanner.finish():
        assembler.add_event(event)
    outcome = assembler.finish(last_time(log, scanner.last_lines()))
    source = LogSource(("x",), (log.name,))
    report, incidents = make_log_report(outcome, [judge_incident(each) for each in outcome.incidents], source)
    lines: Iterator[Span] = log_lines(report, incidents, 10, width)
    return "\n".join((*(line.text for line in lines), log_report_json(report).decode()))


@contextmanager
def opened() -> Iterator[Callable[[Trial, random.Random, int], None]]:
    """Tries one log."""
    logs = (LOG, LOG, as_csv(LOG), as_json(LOG), ROWS, as_rows_of_json(ROWS), as_rows_of_csv(ROWS))
    for each in logs:
        read(each.encode(), 1 << 20, 80)

    def attempt(trial: Trial, rng: random.Random, number: int) -> None:
        text = mutated(rng, shuffled(rng, rng.choice(logs)), (*_PIECES, *HOSTILE), 20_000)
        trial.begin(number, text)
        data = text.encode(errors="replace")
        size, width = rng.choice((len(data) + 1, 8_192, 4_096)), rng.choice((None, 80, 41))
        output = trial.timed("read", lambda: read(data, size, width))
        if output is not None:
            trial.check_output("read", output)

    yield attempt
