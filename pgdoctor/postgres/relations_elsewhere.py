"""Which relations there are in the other databases of a server, by name: protections may name one of any database.

Each database is connected to for a moment, one after another. A connection that cannot be opened is a reason, and no
error: the names are looked for again later.
"""

import asyncio
import time
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, NamedTuple

import msgspec

from pgdoctor.errors import ServerError, StatementFailed
from pgdoctor.formatting import format_count
from pgdoctor.postgres.connection import Connection
from pgdoctor.postgres.database_visit import HANGS, find_reason_to_stay, list_databases, visit_database
from pgdoctor.postgres.protected_names import fetch_known_names

#: Databases that are looked into for one configuration.
MOST_DATABASES = 20

#: Seconds for which an answer is good, and for which a database whose login does not end is left alone.
_GOOD_FOR = 30.0
_GOOD_FOR_WHERE_IT_HANGS = 300.0

#: Seconds that the first answer is waited for.
_PATIENCE = 1.0

_NOT_YET = "the other databases have not all answered yet"


class RelationsElsewhere(msgspec.Struct, frozen=True):
    """What was found."""

    #: By name as `quote_ident` writes it: the kind, as in `pg_class`.
    kinds: Mapping[str, str] = {}
    #: Where the others were looked for, in words; what was not looked into, and why.
    where: str = ""


class _Search(NamedTuple):
    """What was looked for, over which connection, since when."""

    names: frozenset[tuple[str, str]]
    connection: Connection
    began: float


class RelationFinder:
    """Looks for relations in the background, and remembers the answer for half a minute."""

    def __init__(self, patience: float = _PATIENCE) -> None:
        #: Seconds that the first answer is waited for.
        self._patience = patience
        self._search: _Search | None = None
        self._task: asyncio.Task[RelationsElsewhere] | None = None
        self._answer = RelationsElsewhere(where=_NOT_YET)
        self._good_for = _GOOD_FOR

    async def find(self, connection: Connection, names: Iterable[tuple[str, str]]) -> RelationsElsewhere:
        """Where relations are that the connected database does not have, by schema and name, as far as is known."""
        if reason := find_reason_to_stay(connection):
            return RelationsElsewhere(where=f"other databases were not looked into: {reason}")
        wanted = frozenset(names)
        if self._search is None or self._search[:2] != (wanted, connection):
            self.abandon()
            self._answer = RelationsElsewhere(where=_NOT_YET)
            await asyncio.wait({self._start_search(wanted, connection)}, timeout=self._patience)
        elif self._task is None and time.monotonic() - self._search.began > self._good_for:
            self._start_search(wanted, connection)
        return self._take_answer()

    def abandon(self) -> None:
        """Break off what goes on."""
        if self._task is not None:
            self._task.cancel()
        self._task = self._search = None

    def _start_search(
        self, wanted: frozenset[tuple[str, str]], connection: Connection
    ) -> asyncio.Task[RelationsElsewhere]:
        self._search = _Search(wanted, connection, time.monotonic())
        self._task = asyncio.ensure_future(self._search_databases(wanted, connection))
        return self._task

    def _take_answer(self) -> RelationsElsewhere:
        if self._task is not None and self._task.done():
            task, self._task = self._task, None
            error = task.exception()
            self._answer = task.result() if error is None else _describe_failure(error)
        return self._answer

    async def _search_databases(self, wanted: frozenset[tuple[str, str]], connection: Connection) -> RelationsElsewhere:
        try:
            rows = await list_databases(connection, MOST_DATABASES + 1)
        except StatementFailed as error:
            return RelationsElsewhere(where=f"other databases could not be listed: {error}")
        found: dict[str, str] = {}
        unread: list[str] = []
        self._good_for = _GOOD_FOR
        for row in rows[:MOST_DATABASES]:
            try:
                found |= await visit_database(connection, row, partial(_fetch_kinds, wanted), connection.deadline)
            except ServerError as error:
                unread.append(f"{row.name}: {error}")
                if error.state == HANGS:
                    self._good_for = _GOOD_FOR_WHERE_IT_HANGS
        return RelationsElsewhere(found, _describe_search(rows, unread))


def _describe_failure(error: BaseException) -> RelationsElsewhere:
    why = str(error) if isinstance(error, ServerError) else f"internal error: {type(error).__name__}"
    return RelationsElsewhere(where=f"other databases could not be looked into: {why}")


async def _fetch_kinds(wanted: frozenset[tuple[str, str]], connection: Connection) -> Mapping[str, str]:
    return (await fetch_known_names(connection, (), (), sorted(wanted))).relations


def _describe_search(rows: list[Any], unread: list[str]) -> str:
    looked = min(len(rows), MOST_DATABASES) - len(unread)
    parts = [f"or in {format_count(looked, 'other database')} of the server"] if looked else []
    if len(rows) > MOST_DATABASES:
        parts.append(f"at most {MOST_DATABASES} others are looked into")
    return "; ".join((*parts, *(f"not looked into: {each}" for each in unread)))
