"""Logs as syslog, containers and terminals of other systems pass them on: the same incident."""

import json
from contextlib import ExitStack
from pathlib import Path

import pytest

from pgdoctor.cli._log_files import open_logs
from pgdoctor.cli.read import _read_all
from pgdoctor.serverlog.languages import find_language
from pgdoctor.serverlog.period import Period

_ABOUT = {"user": "app", "dbname": "shop", "pid": 20, "error_severity": "LOG", "statement": "update t set v = 2"}
_WAIT = "process 20 still waiting for ShareLock on transaction 9 after 1000.123 ms"
_QUEUE = "Process holding the lock: 10. Wait queue: 20."
_END = "process 20 acquired ShareLock on transaction 9 after 13595.123 ms"
_TIMES = ("2026-11-30 03:17:39.505 UTC", "2026-11-30 03:17:52.100 UTC")
_STAMPS = ("2026-11-30T03:17:39.505123+00:00", "2026-11-30T03:17:52.100123+00:00")

_LINES = [
    (0, f"LOG:  {_WAIT}"),
    (0, f"DETAIL:  {_QUEUE}"),
    (0, "STATEMENT:  update t set v = 2"),
    (1, f"LOG:  {_END}"),
    (1, "STATEMENT:  update t set v = 2"),
]
_PLAIN = "".join(f"{_TIMES[place]} [20] app@shop {text}\n" for place, text in _LINES).encode()
_OBJECTS = [
    json.dumps(_ABOUT | {"timestamp": _TIMES[0], "message": _WAIT, "detail": _QUEUE}),
    json.dumps(_ABOUT | {"timestamp": _TIMES[1], "message": _END}),
]

CARRIED = {
    "syslog": "".join(f"{_STAMPS[place]} db1 postgres[20]: [7-1] {text}\n" for place, text in _LINES).encode(),
    "heroku": "".join(
        f"{_STAMPS[place]} app[postgres.20]: [DATABASE] [7-1] {text}\n" for place, text in _LINES
    ).encode(),
    "kubectl": "".join(f"2026-11-30T03:17:39.505123456Z {each}\n" for each in _OBJECTS).encode(),
    "containerd": "".join(f"2026-11-30T03:17:39.505123456Z stderr F {each}\n" for each in _OBJECTS).encode(),
    "compose": "".join(f"db-1  | {each}\n" for each in _OBJECTS).encode(),
    "byte order mark": b"\xef\xbb\xbf" + _PLAIN,
    "UTF-16": _PLAIN.decode().encode("utf-16"),
    "zeros": b"\0" * 300_000 + _PLAIN + b"\0" * 300_000,
}


@pytest.mark.parametrize("name", CARRIED)
def test_carrier_hides_no_incident(tmp_path: Path, name: str) -> None:
    path = tmp_path / "server.log"
    path.write_bytes(CARRIED[name])
    with ExitStack() as stack:
        logs, notes = open_logs([str(path)], None, stack)
        outcome, _ = _read_all(logs, notes, Period())
    [incident] = outcome.incidents
    assert incident.worst is not None
    [wait] = incident.worst.waits
    assert (wait.origin.pid, wait.holders, wait.origin.statement) == (20, (10,), "update t set v = 2")
    assert incident.longest == pytest.approx(13.595, abs=0.001)
    assert notes == []


def test_text_of_a_client_behind_a_prefix_makes_no_log_json(tmp_path: Path) -> None:
    said = f"{_TIMES[0]} [20] app@shop LOG:  {_OBJECTS[0]}\n".encode()
    path = tmp_path / "server.log"
    path.write_bytes(said + _PLAIN)
    with ExitStack() as stack:
        [log], _ = open_logs([str(path)], None, stack)
        assert log.format is not None
        assert log.format.name == "stderr"


def test_japanese_is_known_by_what_follows_a_message() -> None:
    # Its severities are those of English.
    entry = "2026-11-30 03:17:39 JST [20] ERROR:  x\n2026-11-30 03:17:39 JST [20] 文:  select 1\n"
    assert find_language((entry * 2).encode()) == "Japanese"
    assert find_language((entry * 2 + "2026-11-30 03:17:39 JST [20] STATEMENT:  select 1\n").encode()) is None
