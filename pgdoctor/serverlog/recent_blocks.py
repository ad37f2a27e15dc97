"""The last blocks of a log, with the places where each process stands in them.

Places are found once a block, when the first of them is asked for. Of a log that is full of waits, a search for each
holder took most of the time.
"""

import re
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterator, Sequence

#: Bytes that are kept, and of one section of them.
_WINDOW = 8 << 20
_SECTION = 2 << 20

#: Bytes at the end of each block that are looked through for the last line.
_LAST = 65_536


class _Section:
    """Blocks that follow each other. Places are counted from the beginning of the first one."""

    def __init__(self, pattern: re.Pattern[bytes] | None) -> None:
        self.pattern = pattern
        self.blocks: list[bytes] = []
        self.begins: list[int] = []
        #: Where the part of each block ends that is not in the next one again.
        self.ends: list[int] = []
        self.size = 0
        self._places: dict[bytes, list[int]] = {}
        self._searched = 0

    def add_block(self, data: bytes) -> None:
        self.blocks.append(data)
        self.begins.append(self.size)
        self.size += len(data)
        self.ends.append(self.size)

    def find_places(self, pid: bytes) -> Sequence[int]:
        for number in range(self._searched, len(self.blocks)):
            begin = self.begins[number]
            for found in self.pattern.finditer(self.blocks[number]) if self.pattern is not None else ():
                self._places.setdefault(found[found.lastindex or 0], []).append(begin + found.start())
        self._searched = len(self.blocks)
        return self._places.get(pid, ())


class RecentBlocks:
    """The last 8 to 10 MB of what was read."""

    def __init__(self) -> None:
        self._sections: deque[_Section] = deque()
        self._size = 0

    def add_block(self, data: bytes, pattern: re.Pattern[bytes] | None) -> None:
        """One more block; `pattern`: where it has PIDs, as its last group."""
        newest = self._sections[-1] if self._sections else None
        if newest is None or newest.size >= _SECTION or newest.pattern is not pattern:
            newest = _Section(pattern)
            self._sections.append(newest)
        newest.add_block(data)
        self._size += len(data)
        while self._size - self._sections[0].size >= _WINDOW:
            self._size -= self._sections.popleft().size

    def end_block(self, end: int) -> None:
        """The newest block goes on in the next one from there."""
        newest = self._sections[-1]
        newest.ends[-1] = newest.begins[-1] + end

    def clear(self) -> None:
        """Forget all blocks."""
        self._sections.clear()
        self._size = 0

    def find_places_behind(self, pid: bytes, place: int, most: int) -> Sequence[int]:
        """Where a process stands in the newest block, from a place on; so many places at most."""
        newest = self._sections[-1]
        begin, found = newest.begins[-1], newest.find_places(pid)
        first = bisect_left(found, begin + place)
        return [each - begin for each in found[first : first + most]]

    def find_places_before(self, pid: bytes, place: int) -> Iterator[tuple[bytes, int]]:
        """Blocks and places where a process stands before a place of the newest block, the last one first."""
        newest = self._sections[-1]
        for section in reversed(self._sections):
            found = section.find_places(pid)
            last = bisect_left(found, newest.begins[-1] + place) if section is newest else len(found)
            for each in reversed(found[:last]):
                number = bisect_right(section.begins, each) - 1
                if each < section.ends[number]:
                    yield section.blocks[number], each - section.begins[number]

    def last_lines(self) -> Iterator[bytes]:
        """Lines from the end of what was read, the last one first."""
        for section in reversed(self._sections):
            for number in reversed(range(len(section.blocks))):
                size = section.ends[number] - section.begins[number]
                yield from reversed(section.blocks[number][max(size - _LAST, 0) : size].splitlines(keepends=True))
