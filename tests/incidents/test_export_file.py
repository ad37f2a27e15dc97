"""Files of exported incidents: what comes back, and what is refused, each in one sentence."""

import gzip
import json
import tracemalloc
import zlib
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pgdoctor.diagnosis.diagnose import diagnose
from pgdoctor.errors import ExportError
from pgdoctor.incidents.export_file import (
    MAJOR,
    MOST_LINE,
    DatedSnapshot,
    IncidentFile,
    StoredDeed,
    StoredIncident,
    decode_export,
    encode_export,
)
from pgdoctor.incidents.incident import Incident, IncidentEvent
from pgdoctor.incidents.incident_log import encode_entry
from pgdoctor.incidents.snapshot_archive import pack_diagnosis, unpack_snapshot
from tests.building import NOW, lock, row, session, snapshot, transaction

#: A file that version 0.2.0 wrote: every later version has to open it.
FIRST = Path(__file__).with_name("incident-1.0.json.gz")


def incident(number: int = 0) -> StoredIncident:
    """An incident with two entries, an action and a snapshot."""
    began = NOW + timedelta(hours=number)
    holder = session(
        10,
        state="idle in transaction",
        statement="update orders set v = 'zq7secret'",
        locks=(transaction(10, 10, granted=True), lock(10, "RowExclusiveLock", granted=True)),
    )
    seen = snapshot([holder, session(20, blockers=(10,), locks=row(20, 10))])
    stored = unpack_snapshot(pack_diagnosis(diagnose(seen)))
    known = Incident(f"20260522T{number:02}1000000", began, ("idle_in_transaction",), 1, 3.0)
    events = [IncidentEvent("started", known, began), IncidentEvent("ended", known, began + timedelta(seconds=9))]
    return StoredIncident(
        "7",
        tuple(encode_entry(each, 1, relation="public.orders") for each in events),
        (StoredDeed(began, "opening", b'{"kind":"opening","at":"2026-05-22T23:10:00Z","reason":"r"}'),),
        (DatedSnapshot(began, stored),),
    )


def written(*incidents: StoredIncident) -> bytes:
    return encode_export(incidents or (incident(),), "0.2.0", NOW)


def lines_of(body: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in gzip.decompress(body).splitlines()]


def packed(lines: list[dict[str, Any]]) -> bytes:
    """A file of these lines, with the number of them at its end."""
    body = [*lines[:-1], lines[-1] | {"lines": len(lines) - 1}]
    return gzip.compress("".join(f"{json.dumps(line)}\n" for line in body).encode())


def refused(body: bytes, words: str, piece: int = 1 << 20) -> None:
    with pytest.raises(ExportError, match=words) as error:
        decode_export(body[begin : begin + piece] for begin in range(0, len(body), piece))
    assert "\n" not in str(error.value)


def read(body: bytes) -> IncidentFile:
    return decode_export([body])


@pytest.mark.parametrize("piece", [1, 100, 1 << 20])
def test_all_comes_back_however_it_is_read(piece: int) -> None:
    body = encode_export((incident(), incident(1)), "0.2.0", NOW, incident(2).snapshots)
    found = decode_export(body[begin : begin + piece] for begin in range(0, len(body), piece))
    assert found.incidents == tuple(
        replace(each, deeds=tuple(replace(deed, id=0) for deed in each.deeds)) for each in (incident(), incident(1))
    )
    assert (found.written_by, found.written_at, found.left_out) == ("0.2.0", NOW, 0)
    assert found.quiet == incident(2).snapshots


def test_it_is_json_in_gzip_without_a_literal() -> None:
    body = written()
    assert [line["line"] for line in lines_of(body)] == ["header", "event", "event", "action", "snapshot", "end"]
    assert b"zq7secret" not in gzip.decompress(body)
    assert written() == body


def test_the_first_format_opens_for_ever() -> None:
    found = read(FIRST.read_bytes())
    assert found.written_by == "0.2.0"
    assert found.incidents[0].entries == incident().entries
    assert found.incidents[0].snapshots[0].stored.blocked == 1
    assert diagnose(found.incidents[0].snapshots[0].stored.snapshot).blocked_sessions == 1


def test_a_later_minor_version_is_read_without_what_it_adds() -> None:
    header, *others, end = lines_of(written())
    header |= {"version": [MAJOR, 7], "cipher": None}
    more = [
        {"line": "weather", "sky": "blue"},
        {"line": "event", "server": "7", "incident": "x", "entry": {"event": 4}},
    ]
    others[0]["entry"]["mood"] = "calm"
    others[3]["stored"]["snapshot"]["moon"] = {"phase": 3}
    found = read(packed([header, *others, *more, end]))
    assert found.left_out == 2
    assert found.incidents[0].entries == incident().entries
    assert found.incidents[0].snapshots == incident().snapshots


def test_a_future_major_version_is_refused_and_named() -> None:
    header, *others = lines_of(written())
    header |= {"version": [MAJOR + 1, 3], "written_by": "9.1"}
    refused(packed([header, *others]), r"is of format 2\.3, and this pgdoctor reads 1\.x: .*\(9\.1\)")


def test_file_that_is_no_export_is_refused() -> None:
    refused(b"", "is empty")
    refused(b"hello", "is not an export of pgdoctor incidents")
    refused(b"SQLite format 3\x00 and more", "is a journal")
    refused(gzip.compress(b"PGDMP" * 100), "is compressed, but not an export")
    refused(
        gzip.compress(b'{"line":"header","format":"x","version":[1,0],"written_by":"","written_at":0}'), "not an export"
    )
    refused(gzip.compress(b"[" * 100_000), "not an export")


@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.99])
def test_a_file_that_is_cut_off_is_refused(share: float) -> None:
    body = written()
    refused(body[: int(len(body) * share)], "is cut off|is compressed, but not an export")


def test_lines_that_are_missing_are_noticed() -> None:
    header, *others, end = lines_of(written())
    whole = [header, *others, end]
    refused(gzip.compress("".join(f"{json.dumps(line)}\n" for line in whole[:-1]).encode()), "last line is missing")
    refused(gzip.compress("".join(f"{json.dumps(line)}\n" for line in [*whole[:3], end]).encode()), "is damaged")
    refused(packed([header, *others[2:], end]), "do not belong together")
    refused(written() + b"x", "something follows its end")
    refused(written() + written(), "something follows its end")


@given(st.integers(min_value=0), st.integers(min_value=1, max_value=255))
def test_each_changed_byte_is_noticed_or_changes_nothing(place: int, by: int) -> None:
    body = bytearray(written())
    body[place % len(body)] ^= by
    try:
        found = read(bytes(body))
    except ExportError:
        return
    assert found == read(written())


def test_lines_of_a_wrong_shape_are_damage() -> None:
    header, *others, end = lines_of(written())
    for wrong in ({"line": "weather"}, {"line": "event"}, {"line": "snapshot", "stored": 7}, {"no": "line"}):
        refused(packed([header, wrong, *others, end]), "is damaged: line 2")


def bomb(size: int, line_end: bytes) -> Iterator[bytes]:
    """A file that unpacks to so many bytes, in pieces."""
    packer = zlib.compressobj(wbits=31)
    header = gzip.decompress(written()).partition(b"\n")[0]
    yield packer.compress(header + b"\n")
    block = (b" " * 65_535 + line_end) * 16
    for _ in range(size // len(block)):
        if piece := packer.compress(block):
            yield piece
    yield packer.flush()


def test_a_bomb_is_refused_in_bounded_memory() -> None:
    tracemalloc.start()
    try:
        with pytest.raises(ExportError, match="has a line of more than 64 MB"):
            decode_export(bomb(1 << 30, b" "))
        assert tracemalloc.get_traced_memory()[1] < 4 * MOST_LINE
    finally:
        tracemalloc.stop()


def test_a_bomb_of_many_lines_is_refused() -> None:
    header, *_ = lines_of(written())
    header["version"] = [MAJOR, 1]
    body = json.dumps(header).encode() + b"\n" + b'{"line":"x"}\n' * 200_000
    refused(gzip.compress(body, 1), "has more than 100,000 lines")
    body = json.dumps(header).encode() + b"\n" + (b'{"line":"x","y":"' + b"y" * 1_000_000 + b'"}\n') * 300
    refused(gzip.compress(body, 1), "unpacks to more than 256 MB")
