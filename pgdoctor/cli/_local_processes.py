"""CPU, memory and storage that sessions take, from /proc: where the server runs on this machine, and this is Linux."""

import os
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from pgdoctor.model.activity import Activity, MachineUsage, ProcessUsage

#: Seconds between the start of a process by /proc, which counts whole seconds since the boot, and by the server.
_TOLERANCE = 3.0

_PROC = Path("/proc")


class _Counted(NamedTuple):
    """What a process has taken since it began, and when that was read."""

    at: float
    cpu_seconds: float
    read: int | None
    written: int | None


class LocalProcesses:
    """Remembers the reading before. It is asked only while the list of all sessions is shown."""

    def __init__(self, proc: Path = _PROC) -> None:
        self._proc = proc
        self._before: Mapping[int, _Counted] = {}

    def read_usage(self, activity: Activity) -> MachineUsage | None:
        """What the processes take; None where they are not on this machine, or cannot be read."""
        if not self._is_here(activity):
            self._before = {}
            return None
        now = {session.pid: self._count_taken(session.pid) for session in activity.sessions}
        found = {pid: self._compare_usage(pid, counted) for pid, counted in now.items() if counted is not None}
        self._before = {pid: counted for pid, counted in now.items() if counted is not None}
        load = None
        with suppress(OSError):
            load = os.getloadavg()[0]
        return MachineUsage(found, load)

    def _is_here(self, activity: Activity) -> bool:
        """Whether the process of our own session is on this machine, in our PID namespace: by its name and its start.

        The host says little: a forwarded port and a container have 127.0.0.1, too.
        """
        if activity.own_pid is None or activity.own_start is None:
            return False
        try:
            name, fields = self._read_stat(activity.own_pid)
            boot = next(
                int(line.split()[1])
                for line in (self._proc / "stat").read_text().splitlines()
                if line.startswith("btime ")
            )
            began = datetime.fromtimestamp(boot + int(fields[19]) / _read_ticks(), UTC)
        except (OSError, ValueError, IndexError, StopIteration):
            return False
        return "postgres" in name and abs((began - activity.own_start).total_seconds()) <= _TOLERANCE

    def _read_stat(self, pid: int) -> tuple[str, list[str]]:
        """The name of a process, and the fields of its stat from the third one on."""
        name, _, rest = (self._proc / str(pid) / "stat").read_text(errors="replace").rpartition(")")
        return name.partition("(")[2], rest.split()

    def _count_taken(self, pid: int) -> _Counted | None:
        try:
            _, fields = self._read_stat(pid)
            seconds = (int(fields[11]) + int(fields[12])) / _read_ticks()
        except (OSError, ValueError, IndexError):
            return None
        read, written = self._read_storage(pid)
        return _Counted(time.monotonic(), seconds, read, written)

    def _read_storage(self, pid: int) -> tuple[int | None, int | None]:
        """Bytes; the kernel shows them to root and to the server's own user."""
        try:
            lines = (self._proc / str(pid) / "io").read_text().splitlines()
            said = {key: int(value) for key, _, value in (line.partition(": ") for line in lines)}
        except (OSError, ValueError):
            return None, None
        return said.get("read_bytes"), said.get("write_bytes")

    def _read_memory(self, pid: int) -> int | None:
        try:
            resident, shared = (self._proc / str(pid) / "statm").read_text().split()[1:3]
            return (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE")
        except (OSError, ValueError):
            return None

    def _compare_usage(self, pid: int, now: _Counted) -> ProcessUsage:
        before, memory = self._before.get(pid), self._read_memory(pid)
        if before is None or now.at <= before.at or now.cpu_seconds < before.cpu_seconds:
            return ProcessUsage(memory=memory)
        elapsed = now.at - before.at
        return ProcessUsage(
            cpu=100 * (now.cpu_seconds - before.cpu_seconds) / elapsed,
            memory=memory,
            read=_find_rate(before.read, now.read, elapsed),
            written=_find_rate(before.written, now.written, elapsed),
        )


def _find_rate(before: int | None, now: int | None, elapsed: float) -> float | None:
    return None if before is None or now is None else max(now - before, 0) / elapsed


def _read_ticks() -> int:
    """Of the kernel's clock a second."""
    return os.sysconf("SC_CLK_TCK")
