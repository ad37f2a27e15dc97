"""csvlog: a record an entry, which may have several lines."""

import csv
import re

from pgdoctor.serverlog.entry import MOST_DETAIL, MOST_TEXT, Entry, read_name, read_time
from pgdoctor.serverlog.formats import LogFormat, Reading, line_end
from pgdoctor.serverlog.messages import is_telling

#: How a record begins: time, user, database, PID. Nothing that a client sends can begin a line like that unquoted.
_NAME = rb'(?:"(?:[^"\n]|""){0,130}"|),'
STARTS = re.compile(rb"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} [A-Za-z0-9+:-]{1,10}," + _NAME + _NAME + rb"\d{0,10},")
_RECORD = re.compile(rb'(?:"(?:[^"]|"")*+"|[^",\n]*+)(?:,(?:"(?:[^"]|"")*+"|[^",\n]*+))*+\n')

#: Bytes of a record, and lines that are gone back to find its beginning.
_MOST_BYTES = 262_144
_MOST_LINES = 500

#: Columns by their place, PostgreSQL 9.0 to 18; the later ones came with 13 and 14.
_USER, _DATABASE, _PID, _FROM, _SEVERITY, _MESSAGE, _DETAIL, _CONTEXT, _QUERY, _APPLICATION, _BACKEND = (
    *(1, 2, 3, 4, 11, 13, 14, 18, 19, 22, 23),
)
_LEAST_COLUMNS = 23


class CsvLog:
    """Reads entries of csvlog."""

    name = "csvlog"

    def is_like(self, other: LogFormat) -> bool:
        """It reads what the other one reads."""
        return isinstance(other, CsvLog)

    def write_pid(self, pid: int) -> bytes | None:
        """How the records of a process may be found."""
        return f",{pid},".encode()

    def read_entry(self, block: bytes, hit: int, *, is_last: bool, is_any: bool = False) -> Reading:
        """The entry whose record is around `hit`."""
        start, end = _find_record_start(block, hit), line_end(block, hit)
        if start is None:
            return Reading(end)
        record = _RECORD.match(block, start, start + _MOST_BYTES)
        if record is None or record.end() <= hit:
            if record is None and not is_last and len(block) - start < _MOST_BYTES:
                return Reading(end, carry=start)
            return Reading(end)
        entry = _read_record(record[0])
        if entry is None or not (is_any or is_telling(entry.message)):
            return Reading(record.end())
        return Reading(record.end(), entry)

    def read_time(self, line: bytes) -> Entry | None:
        """The line alone, for its time."""
        at = read_time(line[: line.find(b",")].decode(errors="replace")) if STARTS.match(line) else None
        return None if at is None else Entry(at, None, "")


def _find_record_start(block: bytes, hit: int) -> int | None:
    """Where the record around a place begins."""
    start = hit + 1
    for _ in range(_MOST_LINES):
        start = block.rfind(b"\n", 0, max(start - 1, 0)) + 1
        if STARTS.match(block, start):
            return start
        if start == 0 or hit - start > _MOST_BYTES:
            return None
    return None


def _read_record(record: bytes) -> Entry | None:
    try:
        [row] = csv.reader([record.decode(errors="replace")], strict=True)
    except (csv.Error, ValueError):
        return None
    if len(row) < _LEAST_COLUMNS or not row[_PID].isdecimal() or len(row[_PID]) > 10:
        return None
    at = read_time(row[0])
    if at is None:
        return None
    return Entry(
        at,
        int(row[_PID]),
        row[_MESSAGE],
        row[_DETAIL][:MOST_DETAIL],
        row[_CONTEXT][:MOST_TEXT],
        row[_QUERY][:MOST_TEXT] or None,
        read_name(row[_USER]),
        read_name(row[_DATABASE]),
        read_name(row[_APPLICATION]),
        read_name(row[_FROM].rpartition(":")[0]),
        read_name(row[_BACKEND] if len(row) > _BACKEND else None),
    )
