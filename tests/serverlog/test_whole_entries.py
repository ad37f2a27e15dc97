"""Entries that are matched as a whole: the same comes of them as of their lines, read one by one."""

import pytest

from pgdoctor.serverlog.prefix import TemplatePrefix
from pgdoctor.serverlog.stderr_log import StderrLog
from tests.cli.test_read import LOG

_PREFIX = "%m [%p] %q%u@%d/%a "
#: Variants of one log: as it is, with the end of line of Windows, and with an SQLSTATE and a place in the source.
_VARIANTS = {
    "plain": LOG,
    "crlf": LOG.replace("\n", "\r\n"),
    "verbose": LOG.replace("LOG:  ", "LOG:  00000: ").replace("HINT:  ", "LOCATION:  ProcSleep, proc.c:1\n\t"),
}


class LinesOnly(TemplatePrefix):
    """The same prefix without the pattern of whole entries."""

    def match_entry(self, block: bytes, start: int, most: int) -> None:
        return None


@pytest.mark.parametrize("text", _VARIANTS.values(), ids=_VARIANTS)
def test_whole_entry_says_what_its_lines_say(text: str) -> None:
    block = text.encode()
    whole, lines = StderrLog(TemplatePrefix(_PREFIX)), StderrLog(LinesOnly(_PREFIX))
    places = [place for place in range(len(block)) if block[place - 1 : place] in (b"", b"\n")]
    assert len(places) > 20
    for place in places:
        one, other = (log.read_entry(block, place, is_last=True, is_any=True).entry for log in (whole, lines))
        assert one == other


def test_entry_with_its_own_number_on_each_line_is_whole() -> None:
    lead = "2026-11-30 03:17:39 UTC [7]: [{}-1] user=app,db=shop "
    text = lead.format(1) + "LOG:  x\n" + lead.format(2) + "STATEMENT:  select 1\n"
    found = TemplatePrefix("%t [%p]: [%l-1] user=%u,db=%d ").match_entry(text.encode(), 0, 1_000)
    assert found is not None
    assert (found.message, found.statement, found.pid, found.end) == (b"x", b"select 1", 7, len(text))


def test_line_of_another_process_interrupts_an_entry() -> None:
    text = "2026-11-30 03:17:39.505 UTC [7] LOG:  x\n2026-11-30 03:17:39.505 UTC [8] STATEMENT:  select 1\n"
    assert TemplatePrefix("%m [%p] ").match_entry(text.encode(), 0, 1_000) is None
