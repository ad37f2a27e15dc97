"""jsonlog: an object a line; also inside of the envelope of an operator (CloudNativePG), as `record`."""

import re

import msgspec

from pgdoctor.serverlog.entry import MOST_DETAIL, MOST_TEXT, Entry, read_name, read_time
from pgdoctor.serverlog.formats import LogFormat, Reading, line_end
from pgdoctor.serverlog.messages import is_telling


class _Record(msgspec.Struct, frozen=True):
    timestamp: str
    pid: int
    #: In each record of the server; other programs write `level`.
    error_severity: str
    message: str = ""
    detail: str = ""
    context: str = ""
    statement: str | None = None
    user: str | None = None
    dbname: str | None = None
    application_name: str | None = None
    remote_host: str | None = None
    backend_type: str | None = None


class _Columns(msgspec.Struct, frozen=True):
    """The columns of csvlog, by name."""

    log_time: str
    process_id: str
    message: str = ""
    detail: str = ""
    context: str = ""
    query: str | None = None
    user_name: str | None = None
    database_name: str | None = None
    application_name: str | None = None
    connection_from: str | None = None
    backend_type: str | None = None


class _Envelope(msgspec.Struct, frozen=True):
    record: _Columns


_RECORDS = msgspec.json.Decoder(_Record)
_ENVELOPES = msgspec.json.Decoder(_Envelope)


#: What kubectl logs --timestamps, containerd and docker compose write in front of an object.
_CARRIER = re.compile(
    rb"(?:\d{4}-\d\d-\d\dT[\d:.]{8,18}(?:Z|[+-]\d\d:\d\d) (?:std(?:out|err) [FP] )?|[\w.-]{1,64} +\| )(?={)"
)


class JsonLog:
    """Reads entries of jsonlog."""

    name = "jsonlog"
    pid_pattern = re.compile(rb'"(?:pid|process_id)": ?"?(\d{1,10})[",}]')

    def is_like(self, other: LogFormat) -> bool:
        """It reads what the other one reads."""
        return isinstance(other, JsonLog)

    def write_pid(self, pid: int) -> bytes:
        """A PID as the object has it."""
        return str(pid).encode()

    def read_entry(self, block: bytes, hit: int, *, is_last: bool, is_any: bool = False) -> Reading:  # noqa: ARG002
        """The entry whose object is on the line of `hit`."""
        end = line_end(block, hit)
        entry = read_object(block[block.rfind(b"\n", 0, hit) + 1 : end])
        return Reading(end, entry if entry is not None and (is_any or is_telling(entry.message)) else None)

    def read_time(self, line: bytes) -> Entry | None:
        """The line alone, for its time."""
        return read_object(line)


def is_object(line: bytes) -> bool:
    """The line is an object in JSON, or an array of them, of whatever program."""
    if not line.startswith((b"{", b"[{")):
        return False
    try:
        msgspec.json.decode(line, type=dict[str, msgspec.Raw] | list[msgspec.Raw])
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return False
    return True


def cut_carrier(line: bytes) -> bytes:
    """The line from its object on, where a container wrote in front of it."""
    found = _CARRIER.match(line) if not line.startswith(b"{") else None
    return line[found.end() :] if found is not None else line


def read_object(line: bytes) -> Entry | None:
    """The entry of a line; None where it is no object of a log."""
    line = cut_carrier(line)
    try:
        found = _RECORDS.decode(line)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return _read_envelope(line) if b'"record"' in line else None
    at = read_time(found.timestamp)
    if at is None:
        return None
    return Entry(
        at,
        found.pid,
        found.message,
        found.detail[:MOST_DETAIL],
        found.context[:MOST_TEXT],
        found.statement[:MOST_TEXT] if found.statement else None,
        read_name(found.user),
        read_name(found.dbname),
        read_name(found.application_name),
        read_name(found.remote_host),
        read_name(found.backend_type),
    )


def _read_envelope(line: bytes) -> Entry | None:
    try:
        found = _ENVELOPES.decode(line).record
        pid = int(found.process_id[:10])
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    at = read_time(found.log_time)
    if at is None:
        return None
    return Entry(
        at,
        pid,
        found.message,
        found.detail[:MOST_DETAIL],
        found.context[:MOST_TEXT],
        found.query[:MOST_TEXT] if found.query else None,
        read_name(found.user_name),
        read_name(found.database_name),
        read_name(found.application_name),
        read_name((found.connection_from or "").rpartition(":")[0]),
        read_name(found.backend_type),
    )
