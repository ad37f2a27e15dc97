"""What is said of strangers in the leader election. On a real server: tests/enforcement/test_leader_lock.py."""

from msgspec.structs import replace

from pgdoctor.diagnosis.diagnose import diagnose
from pgdoctor.model.diagnosis import Finding
from pgdoctor.model.server_context import LockStranger, ServerContext
from tests.building import NOW, snapshot


def found(*strangers: LockStranger) -> list[Finding]:
    around = ServerContext(read_at=NOW, lock_strangers=strangers)
    return [
        note for note in diagnose(replace(snapshot([]), surroundings=around)).findings if note.kind == "leader_lock"
    ]


def test_without_strangers_nothing_is_found() -> None:
    assert found() == []


def test_stranger_with_any_name_is_one_line() -> None:
    [note] = found(LockStranger(4711, None, 1, False, "mallory", "10.0.0.9", "psql\ncritical: all is well", "shop"))
    assert "PID 4711" in note.summary
    assert "mallory from 10.0.0.9" in note.summary
    assert "\n" not in note.summary


def test_a_session_without_an_address_may_be_local_or_hidden() -> None:
    [note] = found(LockStranger(4711, None, 1, False))
    assert "a local or hidden address" in note.summary
