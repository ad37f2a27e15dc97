"""What each format of a log can do: read the entry around a place in a block of bytes."""

import re
from typing import Protocol

import msgspec

from pgdoctor.serverlog.entry import Entry


class Reading(msgspec.Struct, frozen=True, gc=False):
    """What stands at a place: where its first line ends, and its entry; None: none that matters."""

    end: int
    entry: Entry | None = None
    #: The block ends before the entry does: where it begins, to be read again with the next block.
    carry: int | None = None


class LogFormat(Protocol):
    """A format. `hit` is a place in the block, which ends with a whole line; `is_last`: no other block follows."""

    name: str

    @property
    def pid_pattern(self) -> re.Pattern[bytes] | None:
        """Where the PID of an entry stands: its last group; None where it is not said."""

    def write_pid(self, pid: int) -> bytes:
        """A PID as that group has it."""

    def is_like(self, other: "LogFormat") -> bool:
        """It reads what the other one reads."""

    def read_entry(self, block: bytes, hit: int, *, is_last: bool, is_any: bool = False) -> Reading:
        """The entry at the place; `is_any`: one that says nothing of locks, too."""

    def read_time(self, line: bytes) -> Entry | None:
        """The line alone, for its time; None where it has none."""


def line_end(block: bytes, place: int) -> int:
    """The place behind the end of a line."""
    end = block.find(b"\n", place)
    return len(block) if end < 0 else end + 1
