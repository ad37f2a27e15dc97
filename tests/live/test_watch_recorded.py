"""`pgdoctor watch --from FILE` in a real terminal: the snapshots of an export, forward and back."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from pgdoctor.diagnosis.diagnose import diagnose
from pgdoctor.incidents.export_file import DatedSnapshot, encode_export
from pgdoctor.incidents.snapshot_archive import pack_diagnosis, unpack_snapshot
from tests.building import NOW, snapshot
from tests.cli.test_bad_input import pgdoctor
from tests.cli.test_incidents import at, blocked
from tests.incidents.test_export_file import incident
from tests.live.terminal import LEFT, Terminal

RIGHT = "\x1b[C"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A recording of three snapshots: one session blocked, two, none."""
    one = blocked(5)
    one = replace(one, sessions={pid: each for pid, each in one.sessions.items() if pid != 30})
    seen = (one, blocked(20), snapshot([], at=at(40)))
    dated = tuple(DatedSnapshot(each.captured_at, unpack_snapshot(pack_diagnosis(diagnose(each)))) for each in seen)
    path = tmp_path / "one.json.gz"
    path.write_bytes(encode_export([replace(incident(), snapshots=dated)], "0.2.0", NOW))
    return path


@pytest.fixture
def terminal(file: Path) -> Iterator[Terminal]:
    opened = Terminal("--from", str(file))
    yield opened
    opened.close()


def test_arrows_step_through_a_recording(terminal: Terminal) -> None:
    terminal.until("2 sessions blocked by 1 root blocker", "snapshot 2 of 3", "→ ← next and previous snapshot")
    terminal.press(RIGHT)
    terminal.until("No session is blocked", "snapshot 3 of 3")
    terminal.press(RIGHT)
    terminal.until("this is the last snapshot")
    terminal.press(LEFT, LEFT)
    terminal.until("1 session blocked by 1 root blocker", "snapshot 1 of 3")
    terminal.press("[")
    terminal.until("this is the first snapshot")
    terminal.press(">")
    terminal.until("snapshot 3 of 3")
    terminal.press("<", "]", "n", "\r")
    terminal.until("reporting", "idle in transaction")
    terminal.press("q", "q")
    assert terminal.end() == 0


def test_a_recording_signals_no_session(terminal: Terminal) -> None:
    terminal.until("snapshot 2 of 3")
    terminal.press("n", "k")
    terminal.until("this is a recording: no session can be signalled")
    terminal.press("q")
    assert terminal.end() == 0


def test_without_a_terminal_the_worst_snapshot_is_printed(file: Path) -> None:
    done = pgdoctor("watch", "--from", str(file))
    assert done.returncode == 0, done.stderr
    assert ", snapshot 2 of 3, of " in done.stdout
    assert "2 sessions blocked by 1 root blocker" in done.stdout
