"""Which blockers run a function of users that may catch a cancel: its source says so, their text does not."""

import re
from collections.abc import Mapping

from pgdoctor.diagnosis.blocker.deafness import names_cancel
from pgdoctor.model.snapshot import Session, find_blocking
from pgdoctor.postgres.catalog import CatalogReader
from pgdoctor.sqltext import statement

#: Names that are asked about in one poll, and of one statement.
MOST_NAMES = 100
_MOST_OF_ONE = 20

#: Statements by which a client calls what does the work. Others call functions for single values.
_CALLING = frozenset({"call", "do", "select"})

#: What may be called, in the body of a DO as well. Quoted names with other characters are not found.
#: A name is read from its first character only, and never given back: else one word of 16 kB takes seconds.
_CALLED = re.compile(r"(?<![A-Za-z0-9_$])([A-Za-z_][A-Za-z0-9_$]*+)\"?\s*+\(")


async def fetch_catching(sessions: Mapping[int, Session], evidence: CatalogReader) -> frozenset[int]:
    """The PIDs of those sessions that block others and call such a function."""
    blocking = find_blocking(sessions.values())
    called = {pid: names for pid in blocking if (session := sessions.get(pid)) and (names := _called_names(session))}
    asked = sorted({name for names in called.values() for name in names})[:MOST_NAMES]
    found = {row.name for row in await evidence.fetch_rows("catching_functions", names=asked)} if asked else set()
    catching = {pid for pid, names in called.items() if not found.isdisjoint(names)}
    # Of an archived snapshot the text of a DO is left out, and the verdict has to stay the same.
    catching |= {pid for pid in blocking if pid in sessions and names_cancel(sessions[pid].statement or "")}
    return frozenset(catching)


def _called_names(session: Session) -> tuple[str, ...]:
    """Names that its running statement may call."""
    text = session.statement or ""
    if session.state != "active" or _CALLING.isdisjoint(
        statement.read_statement(text, truncated=session.truncated).kinds
    ):
        return ()
    return tuple(dict.fromkeys(name.lower() for name in _CALLED.findall(text)))[:_MOST_OF_ONE]
