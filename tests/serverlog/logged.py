"""A server that logs lock waits, and what `pgdoctor read` makes of the part of its log that a scene wrote."""

from collections.abc import Sequence
from pathlib import Path

from pgdoctor.demo.throwaway_server import ThrowawayServer
from pgdoctor.serverlog.incident_assembler import Assembler, Outcome
from pgdoctor.serverlog.judgement import JudgedIncident, judge_incident
from pgdoctor.serverlog.reading import detect_format
from pgdoctor.serverlog.scanner import Scanner
from tests.scenes import Scene

#: A deadlock_timeout that scenes wait for, and all that the server can say of its sessions.
SETTINGS: dict[str, str | int] = {
    "log_lock_waits": "on",
    "deadlock_timeout": "200ms",
    "log_line_prefix": "%m [%p] %q%u@%d/%a ",
}
TALKATIVE = {**SETTINGS, "log_min_duration_statement": 0}


def read_outcome(data: bytes, prefix: str | None = None, size: int = 1 << 20) -> Outcome:
    """What comes of a log, read in blocks of so many bytes."""
    log = detect_format(data[: 1 << 18], prefix)
    assert log is not None
    scanner = Scanner(log)
    assembler = Assembler(scanner)
    for begin in range(0, len(data), size):
        for event in scanner.scan_block(data[begin : begin + size]):
            assembler.add_event(event)
    for event in scanner.finish():
        assembler.add_event(event)
    return assembler.finish(None)


def read_incidents(data: bytes, prefix: str | None = None) -> Sequence[JudgedIncident]:
    """The incidents of a log."""
    return [judge_incident(each) for each in read_outcome(data, prefix).incidents]


class Tail:
    """The part of a log that is written from now on."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._begin = path.stat().st_size if path.exists() else 0

    def read(self) -> bytes:
        """What has been written since."""
        with self._path.open("rb") as file:
            file.seek(self._begin)
            return file.read()

    def wait_for(self, scene: Scene, *words: str, times: int = 1) -> bytes:
        """The same, once each of the words stands in it so often."""
        scene.wait_until(lambda: all(self.read().count(word.encode()) >= times for word in words), timeout=20)
        return self.read()


def tail_of(server: ThrowawayServer) -> Tail:
    """The log of a server that writes to stderr."""
    return Tail(server.log)
