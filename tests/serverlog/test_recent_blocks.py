"""Where a process stands in the last blocks: the same places as a search of their whole text finds."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgdoctor.serverlog.prefix import KNOWN, TemplatePrefix
from pgdoctor.serverlog.recent_blocks import RecentBlocks
from tests.serverlog.logged import read_outcome

_PATTERN = re.compile(rb"\[(\d{1,10})\]")
_BLOCKS = st.lists(st.text("[]12\n", max_size=40).map(str.encode), min_size=1, max_size=8)

_LINE = "2026-11-30 03:{0}:39.505 UTC [{1}] a@b/c LOG:  {2}\n"
_WAIT = (
    _LINE.format(17, 20, "process 20 still waiting for ShareLock on transaction 9 after 90000.000 ms")
    + _LINE.format(17, 20, "").replace("LOG:  ", "DETAIL:  Process holding the lock: 10. Wait queue: 20.")
    + _LINE.format(17, 20, "").replace("LOG:  ", "STATEMENT:  update t set v = 2")
)


@given(_BLOCKS, st.integers(0, 40), st.sampled_from([b"1", b"2", b"12"]))
def test_places_are_those_of_a_search(blocks: list[bytes], place: int, pid: bytes) -> None:
    recent = RecentBlocks()
    for number, block in enumerate(blocks):
        recent.add_block(block, _PATTERN)
        if number % 2:
            recent.find_places_behind(pid, 0, 1)
    place = min(place, len(blocks[-1]))
    before = [(block, each.start()) for block in blocks for each in _PATTERN.finditer(block) if each[1] == pid]
    newest = [each.start() for each in _PATTERN.finditer(blocks[-1]) if each[1] == pid]
    behind = [each for each in newest if each >= place]
    assert list(recent.find_places_behind(pid, place, 99)) == behind
    assert list(recent.find_places_before(pid, place)) == before[: len(before) - len(behind)][::-1]


def test_part_that_is_read_again_counts_once() -> None:
    recent = RecentBlocks()
    recent.add_block(b"[1] a\n[1] b\n", _PATTERN)
    recent.end_block(6)
    recent.add_block(b"[1] b\n[1] c\n", _PATTERN)
    assert list(recent.find_places_before(b"1", 6)) == [(b"[1] b\n[1] c\n", 0), (b"[1] a\n[1] b\n", 0)]
    assert list(recent.last_lines()) == [b"[1] c\n", b"[1] b\n", b"[1] a\n"]


@pytest.mark.parametrize("template", [each for each in KNOWN if "%p" in each or "%c" in each])
def test_pid_stands_where_its_prefix_says(template: str) -> None:
    prefix = TemplatePrefix(template)
    values = {"m": "2026-11-30 03:17:39.505 UTC", "t": "2026-11-30 03:17:39 UTC", "s": "2026-11-30 03:17:39 UTC"}
    values |= {"n": "1764472659.505", "p": "4660", "c": "692bb8d3.1234", "l": "7", "e": "00000", "v": "3/9", "x": "0"}
    values |= {"u": "app", "d": "shop", "a": "psql", "h": "10.0.0.1", "r": "10.0.0.1(5000)", "q": ""}
    line = re.sub("%([a-z])", lambda found: values[found[1]], template).encode() + b"LOG:  x\n"
    head = prefix.read_head(line)
    assert head is not None
    assert head.pid == 4660
    assert prefix.pid_pattern is not None
    assert prefix.write_pid(4660) in [found[found.lastindex or 0] for found in prefix.pid_pattern.finditer(line)]


def test_holder_is_recalled_behind_megabytes_of_other_waits() -> None:
    """Before, a search for each of many holders had used up what may be read to look back."""
    others = "".join(
        _LINE.format(16, pid, f"process {pid} still waiting for ShareLock on transaction {pid} after 1000.000 ms")
        + _LINE.format(16, pid, "").replace("LOG:  ", f"DETAIL:  Process holding the lock: {pid + 1}. Wait queue: .")
        for pid in range(1_000, 9_000, 2)
    )
    before = _LINE.format(15, 10, "duration: 5.000 ms  statement: update t set v = 1")
    outcome = read_outcome((before + others + _WAIT).encode(), size=1 << 16)
    [waited] = [each for each in outcome.incidents if 10 in each.sessions]
    assert [each.statement for each in waited.sessions[10]] == ["update t set v = 1"]
