"""csvlog: a record an entry, which may have several lines."""

import re
from functools import lru_cache

from pgdoctor.serverlog.entry import MOST_DETAIL, MOST_TEXT, Entry, read_name, read_time
from pgdoctor.serverlog.formats import LogFormat, Reading, line_end
from pgdoctor.serverlog.messages import is_telling

#: How a record begins: time, user, database, PID. Nothing that a client sends can begin a line like that unquoted.
_NAME = rb'(?:"(?:[^"\n]|""){0,130}"|),'
_BEGINS = rb"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} [A-Za-z0-9+:-]{1,10}," + _NAME + _NAME
STARTS = re.compile(_BEGINS + rb"\d{0,10},")
_FIELD = rb'(?:"[^"]*+(?:""[^"]*+)*+"|[^",\n]*+)'
_RECORD = re.compile(_FIELD + b"(?:," + _FIELD + rb")*+\n")

#: Bytes of a record, and lines that are gone back to find its beginning.
_MOST_BYTES = 262_144
_MOST_LINES = 500

#: Columns that are read, by their place, of the 23 of PostgreSQL 9.0: time, user, database, PID, client, message,
#: detail, context, statement and application. The type of the backend follows them from 13 on.
_READ = (0, 1, 2, 3, 4, 13, 14, 18, 19, 22)
_PID = 3
_COLUMNS = re.compile(
    b",".join(
        b"(%b)" % (rb"\d{1,10}" if place == _PID else _FIELD) if place in _READ else _FIELD for place in range(23)
    )
    + b"(?:,(%b))?+" % _FIELD
)

_Names = tuple[str | None, str | None, str | None, str | None, str | None]


class CsvLog:
    """Reads entries of csvlog."""

    name = "csvlog"
    pid_pattern = re.compile(b"(?m)^" + _BEGINS + rb"(\d{1,10}),")

    def is_like(self, other: LogFormat) -> bool:
        """It reads what the other one reads."""
        return isinstance(other, CsvLog)

    def write_pid(self, pid: int) -> bytes:
        """A PID as the record has it."""
        return str(pid).encode()

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
        return Reading(record.end(), _read_record(block, start, record.end(), is_any=is_any))

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


def _read_record(block: bytes, start: int, end: int, *, is_any: bool) -> Entry | None:
    found = _COLUMNS.match(block, start, end)
    if found is None:
        return None
    time, user, database, pid, client, text, detail, context, statement, application, backend = found.groups()
    message = _decode_field(text)
    at = read_time(time.decode(errors="replace")) if is_any or is_telling(message) else None
    if at is None:
        return None
    return Entry(
        at,
        int(pid),
        message,
        _decode_field(detail)[:MOST_DETAIL],
        _decode_field(context)[:MOST_TEXT],
        _decode_field(statement)[:MOST_TEXT] or None,
        *_read_names(user, database, application, client, backend),
    )


def _decode_field(field: bytes) -> str:
    """A field without its quotes."""
    if not field.startswith(b'"'):
        return field.decode(errors="replace")
    return field[1:-1].replace(b'""', b'"').decode(errors="replace")


@lru_cache(maxsize=1024)
def _read_names(user: bytes, database: bytes, application: bytes, client: bytes, backend: bytes | None) -> _Names:
    return (
        read_name(_decode_field(user)),
        read_name(_decode_field(database)),
        read_name(_decode_field(application)),
        read_name(_decode_field(client).rpartition(":")[0]),
        read_name(_decode_field(backend)) if backend else None,
    )
