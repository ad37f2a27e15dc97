"""Incidents in one file: gzip, in it lines of JSON, the first of which says what it is.

    {"line": "header", "format": "pgdoctor incidents", "version": [1, 0], …}
    {"line": "event" | "action" | "snapshot", "server": …, "incident": …, …}   in any number
    {"line": "end", "lines": 17}

A later minor version may add lines and fields; both are left out here, and lines that are left out are counted. Another
major version is refused. Reading is bounded: a small file may unpack to something big.
"""

import zlib
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import chain

import msgspec

from pgdoctor.errors import ExportError
from pgdoctor.escape import encode_json
from pgdoctor.incidents.incident_log import IncidentRecord
from pgdoctor.incidents.snapshot_archive import StoredSnapshot

FORMAT = "pgdoctor incidents"
MAJOR, MINOR = 1, 0

#: Bytes that a file may take unpacked, and one line of it. A dozen snapshots of 1,000 sessions take 15 MB.
MOST_UNPACKED = 256 * 1024 * 1024
MOST_LINE = 64 * 1024 * 1024
MOST_LINES = 100_000

#: What zlib reads and writes as gzip, and the bytes of it that are unpacked at a time.
_GZIP = 31
_MAGIC = b"\x1f\x8b"
_SQLITE = b"SQLite format 3\x00"
_PIECE = 1 << 20

#: Characters of the version that a file says to be written by.
_LONGEST_VERSION = 40


class StoredDeed(msgspec.Struct, frozen=True):
    """What mitigation or a person did during an incident: an event of `audit_records` in JSON."""

    at: datetime
    kind: str
    body: bytes
    id: int = 0


class DatedSnapshot(msgspec.Struct, frozen=True):
    """A snapshot with the server's clock."""

    at: datetime
    stored: StoredSnapshot


class StoredIncident(msgspec.Struct, frozen=True):
    """All that is stored of one incident. `server`: the identity of the server."""

    server: str
    entries: tuple[IncidentRecord, ...]
    deeds: tuple[StoredDeed, ...] = ()
    snapshots: tuple[DatedSnapshot, ...] = ()

    @property
    def id(self) -> str:
        """Its id."""
        return self.entries[-1].id


class IncidentFile(msgspec.Struct, frozen=True):
    """The content of a file."""

    written_by: str
    written_at: datetime
    incidents: tuple[StoredIncident, ...]
    #: Snapshots of no incident: no session was blocked.
    quiet: tuple[DatedSnapshot, ...] = ()
    #: Lines of a later version that were left out.
    left_out: int = 0


class _Header(msgspec.Struct, frozen=True, tag="header", tag_field="line"):
    format: str
    version: tuple[int, int]
    written_by: str
    written_at: datetime


class _Event(msgspec.Struct, frozen=True, tag="event", tag_field="line"):
    server: str
    incident: str
    entry: IncidentRecord


class _Action(msgspec.Struct, frozen=True, tag="action", tag_field="line"):
    server: str
    incident: str
    at: datetime
    kind: str
    body: msgspec.Raw


class _Snapshot(msgspec.Struct, frozen=True, tag="snapshot", tag_field="line"):
    server: str
    #: Empty: of no incident.
    incident: str
    at: datetime
    stored: StoredSnapshot


class _End(msgspec.Struct, frozen=True, tag="end", tag_field="line"):
    lines: int


class _Tag(msgspec.Struct, frozen=True):
    line: str


_Line = _Event | _Action | _Snapshot | _End
_KNOWN = ("event", "action", "snapshot", "end")
_decode_header = msgspec.json.Decoder(_Header).decode
_decode_tag = msgspec.json.Decoder(_Tag).decode
_decode_line = msgspec.json.Decoder(_Line).decode


def encode_export(
    incidents: Sequence[StoredIncident], written_by: str, at: datetime, quiet: Sequence[DatedSnapshot] = ()
) -> bytes:
    """The file. `written_by` is the version that writes it."""
    lines: list[msgspec.Struct] = [_Header(FORMAT, (MAJOR, MINOR), written_by, at)]
    lines += [line for each in incidents for line in _write_incident(each)]
    lines += [_Snapshot("", "", each.at, each.stored) for each in quiet]
    lines.append(_End(len(lines)))
    packer = zlib.compressobj(wbits=_GZIP)
    packed = [packer.compress(encode_json(line) + b"\n") for line in lines]
    return b"".join((*packed, packer.flush()))


def decode_export(pieces: Iterable[bytes]) -> IncidentFile:
    """The content of a file that is read piece by piece. Raises ExportError, whose text follows the file's name."""
    lines = _split_lines(_decompress_pieces(pieces))
    header = _read_header(next(lines, b""))
    found: dict[tuple[str, str], _Collected] = {}
    quiet, left_out, number = list[DatedSnapshot](), 0, 1
    for raw in lines:
        number += 1
        if number > MOST_LINES:
            raise ExportError(f"has more than {MOST_LINES:,} lines: it is not read")
        line = _read_line(raw, number, header)
        if line is None:
            left_out += 1
        elif isinstance(line, _End):
            if line.lines != number - 1 or next(lines, None) is not None:
                raise ExportError("is damaged: lines are missing, or there are too many")
            return IncidentFile(header.written_by, header.written_at, _build_incidents(found), tuple(quiet), left_out)
        elif isinstance(line, _Snapshot) and not line.incident:
            quiet.append(DatedSnapshot(line.at, line.stored))
        else:
            found.setdefault((line.server, line.incident), _Collected(line.server)).add(line)
    raise ExportError("is cut off: its last line is missing")


class _Collected:
    """The lines of one incident."""

    def __init__(self, server: str) -> None:
        self.server = server
        self.entries: list[IncidentRecord] = []
        self.deeds: list[StoredDeed] = []
        self.snapshots: list[DatedSnapshot] = []

    def add(self, line: _Event | _Action | _Snapshot) -> None:
        match line:
            case _Event():
                self.entries.append(line.entry)
            case _Action():
                self.deeds.append(StoredDeed(line.at, line.kind, bytes(line.body)))
            case _Snapshot():
                self.snapshots.append(DatedSnapshot(line.at, line.stored))


def _build_incidents(found: dict[tuple[str, str], _Collected]) -> tuple[StoredIncident, ...]:
    for (_, incident), each in found.items():
        if not each.entries or any(entry.id != incident for entry in each.entries):
            raise ExportError("is damaged: the lines of an incident do not belong together")
    return tuple(
        StoredIncident(each.server, tuple(each.entries), tuple(each.deeds), tuple(each.snapshots))
        for each in found.values()
    )


def _write_incident(incident: StoredIncident) -> Iterator[msgspec.Struct]:
    about = incident.server, incident.id
    yield from (_Event(*about, each) for each in incident.entries)
    yield from (_Action(*about, each.at, each.kind, msgspec.Raw(each.body)) for each in incident.deeds)
    yield from (_Snapshot(*about, each.at, each.stored) for each in incident.snapshots)


def _decompress_pieces(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The bytes behind the compression, at most MOST_UNPACKED of them."""
    unzip, size = zlib.decompressobj(wbits=_GZIP), 0
    for piece in _check_magic(pieces):
        rest = piece
        while rest:
            if unzip.eof:
                raise ExportError("is damaged: something follows its end")
            try:
                found = unzip.decompress(rest, _PIECE)
            except zlib.error:
                raise ExportError("is damaged: it cannot be decompressed") from None
            rest = unzip.unconsumed_tail or unzip.unused_data
            size += len(found)
            if size > MOST_UNPACKED:
                raise ExportError(f"unpacks to more than {MOST_UNPACKED >> 20} MB: it is not read")
            yield found
    if not unzip.eof:
        raise ExportError("is cut off: the end of the compressed data is missing")


def _check_magic(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The pieces, if the first bytes are those of gzip."""
    remaining, first = iter(pieces), b""
    while len(first) < len(_SQLITE) and (piece := next(remaining, b"")):
        first += piece
    if not first:
        raise ExportError("is empty")
    if first.startswith(_SQLITE):
        raise ExportError("is a journal, not an export: pgdoctor incidents list --journal FILE reads it")
    if not first.startswith(_MAGIC):
        raise ExportError("is not an export of pgdoctor incidents: it is not compressed with gzip")
    return chain((first,), remaining)


def _split_lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The lines without their ends."""
    begun: list[bytes] = []
    size = 0
    for piece in pieces:
        *whole, last = piece.split(b"\n")
        for each in whole:
            yield b"".join((*begun, each))
            begun, size = [], 0
        begun.append(last)
        size += len(last)
        if size > MOST_LINE:
            raise ExportError(f"has a line of more than {MOST_LINE >> 20} MB: it is not read")
    if size:
        yield b"".join(begun)


def _read_header(line: bytes) -> _Header:
    try:
        header = _decode_header(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise ExportError("is compressed, but not an export of pgdoctor incidents") from None
    if header.format != FORMAT:
        raise ExportError("is compressed, but not an export of pgdoctor incidents")
    if header.version[0] != MAJOR:
        major, minor = header.version
        raise ExportError(
            f"is of format {major}.{minor}, and this pgdoctor reads {MAJOR}.x: use the version that wrote it "
            f"({header.written_by[:_LONGEST_VERSION]}), or a later one"
        )
    return header


def _read_line(raw: bytes, number: int, header: _Header) -> _Line | None:
    """A line; None for one of a later version."""
    is_later = header.version[1] > MINOR
    try:
        if _decode_tag(raw).line not in _KNOWN and is_later:
            return None
        line: _Line = _decode_line(raw)
        return line
    except msgspec.ValidationError:
        if is_later:
            return None
        raise ExportError(f"is damaged: line {number} has an unexpected form") from None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise ExportError(f"is damaged: line {number} cannot be read") from None
