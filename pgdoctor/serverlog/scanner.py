"""From blocks of bytes to events. Only what is around a telling word is read, so that most of a log costs nothing."""

import heapq
from collections import deque
from collections.abc import Generator, Iterator

from pgdoctor.serverlog.events import Event, LoggedActivity
from pgdoctor.serverlog.formats import LogFormat, line_end
from pgdoctor.serverlog.messages import NEEDLES, read_activity, read_event

#: Bytes of a line; longer lines are left out.
_LONGEST_LINE = 1 << 20

#: Bytes that are kept to look back at what a holder did before, and how often as much may be read for that.
_WINDOW = 8 << 20
_LOOKBACK_SHARE = 4

#: Entries of one holder that are read in front of the first wait for it.
_MOST_RECALLED = 20

#: Holders that are followed at a time, and entries of one of them in one block.
_MOST_FOLLOWED = 8
_MOST_ENTRIES = 200


class Scanner:
    """Reads one log, or a rotated set. While it does, `follow` asks for all that a process writes from there on."""

    def __init__(self, log: LogFormat) -> None:
        self._log = log
        self._rest = b""
        self._window: deque[bytes] = deque()
        self._window_size = 0
        self._budget = 0
        self._block = b""
        self._place = 0
        self._hits: list[int] = []
        self._followed: dict[int, None] = {}
        #: Lines that were too long to be read.
        self.long_lines = 0

    def switch_file(self, log: LogFormat) -> None:
        """Go on with the next file of a rotated set, once the one before is finished."""
        if not log.is_like(self._log):
            self._window.clear()
            self._window_size = 0
        self._log = log
        self.long_lines = 0

    def scan_block(self, data: bytes) -> Iterator[Event]:
        """The events of one more block."""
        data = self._rest + data
        cut = data.rfind(b"\n") + 1
        if not cut:
            is_long = len(data) > _LONGEST_LINE
            self.long_lines += is_long
            self._rest = b"" if is_long else data
            return
        self._rest = data[cut:]
        carry = yield from self._scan_entries(data[:cut], is_last=False)
        if carry is not None:
            self._rest = data[carry:]

    def finish(self) -> Iterator[Event]:
        """The events of what is left; the last line may be cut off."""
        rest, self._rest = self._rest, b""
        if rest:
            yield from self._scan_entries(rest, is_last=True)

    def last_lines(self) -> Iterator[bytes]:
        """Lines from the end of what was read, the last one first."""
        for block in reversed(self._window):
            yield from reversed(block[-65_536:].splitlines(keepends=True))

    def follow_process(self, pid: int) -> None:
        """Read all that this process writes from here on, until others are followed instead."""
        if pid in self._followed:
            return
        self._followed[pid] = None
        if len(self._followed) > _MOST_FOLLOWED:
            del self._followed[next(iter(self._followed))]
        self._seek_entries(pid, self._place)

    def forget_process(self, pid: int) -> None:
        """Follow this process no more."""
        self._followed.pop(pid, None)

    def recall_activity(self, pid: int) -> list[LoggedActivity]:
        """What the process wrote just before, the oldest first; nothing where looking back has taken its share."""
        needle = self._log.write_pid(pid)
        if needle is None:
            return []
        found: list[LoggedActivity] = []
        end = block_end = self._place
        for block in (self._block, *reversed(self._window)):
            end = block_end if block is self._block else len(block)
            self._budget -= end
            if self._budget < 0:
                break
            while len(found) < _MOST_RECALLED and (end := block.rfind(needle, 0, end)) >= 0:
                entry = self._log.read_entry(block, end, is_last=True, is_any=True).entry
                if entry is not None and entry.pid == pid and (said := read_activity(entry)) is not None:
                    found.append(said)
        return found[::-1]

    def _scan_entries(self, block: bytes, *, is_last: bool) -> Generator[Event, None, int | None]:
        self._begin_block(block)
        done = 0
        while self._hits:
            hit = heapq.heappop(self._hits)
            if hit < done:
                continue
            self._place = hit
            reading = self._log.read_entry(block, hit, is_last=is_last, is_any=bool(self._followed))
            if reading.carry is not None:
                self._keep_block(block[: reading.carry])
                return reading.carry
            done = reading.end
            if reading.entry is None:
                continue
            event = read_event(reading.entry)
            if event is None and reading.entry.pid in self._followed:
                event = read_activity(reading.entry)
            if event is not None:
                yield event
        self._keep_block(block)
        return None

    def _begin_block(self, block: bytes) -> None:
        self._block, self._place = block, 0
        self._budget += len(block) * _LOOKBACK_SHARE
        hits: list[int] = []
        for needle in NEEDLES:
            place = block.find(needle)
            while place >= 0:
                hits.append(place)
                place = block.find(needle, place + 1)
        heapq.heapify(hits)
        self._hits = hits
        for pid in self._followed:
            self._seek_entries(pid, 0)

    def _seek_entries(self, pid: int, place: int) -> None:
        """The places of a process's entries from there on."""
        needle = self._log.write_pid(pid)
        if needle is None:
            return
        for _ in range(_MOST_ENTRIES):
            place = self._block.find(needle, place)
            if place < 0:
                return
            heapq.heappush(self._hits, place)
            place = line_end(self._block, place)

    def _keep_block(self, block: bytes) -> None:
        self._block = b""
        self._place = 0
        self._window.append(block)
        self._window_size += len(block)
        while self._window_size > _WINDOW and len(self._window) > 1:
            self._window_size -= len(self._window.popleft())
