"""Which format a log has, and how to read it."""

import re
from collections.abc import Iterable
from datetime import datetime
from itertools import islice

from pgdoctor.errors import UsageError
from pgdoctor.serverlog.csv_log import STARTS, CsvLog
from pgdoctor.serverlog.entry import read_zone
from pgdoctor.serverlog.formats import LogFormat
from pgdoctor.serverlog.json_log import JsonLog, cut_carrier, is_object, read_object
from pgdoctor.serverlog.prefix import TemplatePrefix, detect_prefix
from pgdoctor.serverlog.stderr_log import StderrLog

_ZONE = re.compile(rb"\d\d:\d\d:\d\d(?:\.\d{1,6})? ([A-Z][A-Za-z]{1,5})\b")

#: Lines that are read to know a format, or a time.
_MOST_LINES = 5_000


def detect_format(block: bytes, template: str | None = None) -> LogFormat | None:
    """The format of a log by its beginning, None where it is none. `template`: its `log_line_prefix`, if known.

    Raises UsageError for a template that is wrong, or that fits no line.
    """
    lines = block.split(b"\n", _MOST_LINES)[:_MOST_LINES]
    if template is None:
        if any(read_object(line) is not None for line in lines[:50] if cut_carrier(line).startswith(b"{")):
            return JsonLog()
        if any(STARTS.match(line) for line in lines[:200]):
            return CsvLog()
        # JSON of another program: a text in it may look like a line of a log.
        prefix = detect_prefix(lines) if not is_object(lines[0]) else None
        return StderrLog(prefix) if prefix is not None else None
    prefix = TemplatePrefix(template)
    if lines and any(map(bytes.strip, lines)) and not any(prefix.read_head(line) for line in lines):
        found = detect_prefix(lines)
        hint = f"; {found.template!r} does" if found is not None and found.template else ""
        raise UsageError(f"--prefix {template[:80]!r} fits none of its first lines{hint}")
    return StderrLog(prefix)


def first_time(log: LogFormat, block: bytes) -> datetime | None:
    """The time of the first line that has one."""
    for line in block.split(b"\n", _MOST_LINES)[:_MOST_LINES]:
        entry = log.read_time(line)
        if entry is not None:
            return entry.at
    return None


def last_time(log: LogFormat, lines: Iterable[bytes]) -> datetime | None:
    """The time of the first of these lines that has one; they are the last ones of a log, backwards."""
    found = (log.read_time(line) for line in islice(lines, _MOST_LINES))
    return next((entry.at for entry in found if entry is not None), None)


def find_unknown_zone(block: bytes) -> str | None:
    """The abbreviation of a time zone whose offset is not known, so that its times are taken for UTC."""
    found = _ZONE.search(block)
    name = found[1].decode() if found else "UTC"
    return None if read_zone(name) is not None else name
