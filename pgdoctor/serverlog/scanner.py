"""From blocks of bytes to events. Only what is around a telling word is read, so that most of a log costs nothing."""

import heapq
from collections.abc import Generator, Iterator

from pgdoctor.serverlog.events import Event, LoggedActivity
from pgdoctor.serverlog.formats import LogFormat
from pgdoctor.serverlog.messages import NEEDLES, read_activity, read_event
from pgdoctor.serverlog.recent_blocks import RecentBlocks

#: Bytes of a line; longer lines are left out.
_LONGEST_LINE = 1 << 20

#: Places that may be read to look back at what holders did before: so many of any log, and one more per so many bytes.
_FIRST_PLACES = 2_000
_BYTES_A_PLACE = 4 << 10

#: Entries of one holder that are read in front of the first wait for it.
_MOST_RECALLED = 20

#: Holders that are followed at a time, and places of one of them in one block.
_MOST_FOLLOWED = 8
_MOST_PLACES = 500


class Scanner:
    """Reads one log, or a rotated set. While it does, `follow` asks for all that a process writes from there on."""

    def __init__(self, log: LogFormat) -> None:
        self._log = log
        self._rest = b""
        self._recent = RecentBlocks()
        self._budget = _FIRST_PLACES
        self._place = 0
        self._hits: list[int] = []
        self._followed: dict[int, None] = {}
        #: Lines that were too long to be read.
        self.long_lines = 0

    def switch_file(self, log: LogFormat) -> None:
        """Go on with the next file of a rotated set, once the one before is finished."""
        if not log.is_like(self._log):
            self._recent.clear()
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
        return self._recent.last_lines()

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
        found: list[LoggedActivity] = []
        for block, place in self._recent.find_places_before(self._log.write_pid(pid), self._place):
            if self._budget <= 0 or len(found) >= _MOST_RECALLED:
                break
            self._budget -= 1
            entry = self._log.read_entry(block, place, is_last=True, is_any=True).entry
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
                self._recent.end_block(reading.carry)
                return reading.carry
            done = reading.end
            if reading.entry is None:
                continue
            event = read_event(reading.entry)
            if event is None and reading.entry.pid in self._followed:
                event = read_activity(reading.entry)
            if event is not None:
                yield event
        return None

    def _begin_block(self, block: bytes) -> None:
        self._recent.add_block(block, self._log.pid_pattern)
        self._place = 0
        self._budget += len(block) // _BYTES_A_PLACE
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
        """Read the places of a process from there on, too."""
        for each in self._recent.find_places_behind(self._log.write_pid(pid), place, _MOST_PLACES):
            heapq.heappush(self._hits, each)
