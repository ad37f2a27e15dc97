"""`pgdoctor incidents --archive DSN`: incidents of many agents, read from the archive.

What the commands read is a journal, so what the archive has of the wanted incidents becomes one, in a temporary folder.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import click
import msgspec

from pgdoctor.agent.stored_incidents import AFTER, BEFORE, DEEDS
from pgdoctor.cli._options import run_coroutine
from pgdoctor.errors import UsageError
from pgdoctor.incidents.blocking_patterns import BlockerShare
from pgdoctor.incidents.incident_log import KIND, IncidentRecord, latest_entries, read_entries
from pgdoctor.journal.store import Journal

#: Records that are read of the archive at most: of incidents, and of what was done during one.
_MOST = 100_000

#: Seconds that connecting, and each statement, may take.
_DEADLINE = 30.0

#: The file that a temporary journal may become.
_LARGEST = 4 * 1024**3


#: Of which incidents all is copied, and not only their records: of none, the named one or else the last, or all.
Details = Literal["none", "named", "all"]


class ArchiveChoice(msgspec.Struct, frozen=True):
    """The `--archive` of `pgdoctor incidents`; None: the journal is read."""

    dsn: str | None


def find_archive() -> str | None:
    """The archive that the running command was given; None: it reads the journal."""
    context = click.get_current_context(silent=True)
    choice = context.find_object(ArchiveChoice) if context is not None else None
    return choice.dsn if choice is not None else None


@contextmanager
def open_archive_journal(dsn: str, incident: str | None, since: datetime | None, details: Details) -> Iterator[Journal]:
    """What the archive has, as a journal. Raises ServerError."""
    with tempfile.TemporaryDirectory(prefix="pgdoctor-") as folder:
        journal = Journal.open(Path(folder) / "archive", _LARGEST)
        try:
            run_coroutine(_fill_journal(journal, dsn, incident, since, details))
            # What messages name.
            journal.path = Path("the archive")
            yield journal
        finally:
            journal.close()


async def fetch_shares(dsn: str, since: datetime) -> list[tuple[IncidentRecord, BlockerShare]]:
    """The blockers of incidents since a moment, each with what its incident came to. Raises ServerError."""
    from pgdoctor.postgres.archive import fetch_archived_blockers
    from pgdoctor.postgres.connection import Connection

    async with await Connection.open(dsn, deadline=_DEADLINE) as connection:
        return [_read_row(row) for row in await fetch_archived_blockers(connection, since)]


def _read_row(row: Any) -> tuple[IncidentRecord, BlockerShare]:
    from pgdoctor.incidents.archive_rows import read_share

    last = IncidentRecord(
        event="ended",
        id=row.incident,
        started=row.started,
        at=row.last_seen,
        classes=(row.classification,),
        peak=row.peak_blocked,
        longest_wait=row.longest_wait_seconds,
        attempts=row.attempts,
        server=row.name,
    )
    share = read_share(
        row.name,
        row.classification,
        row.relation,
        row.application,
        row.statement,
        blocked_seconds=row.blocked_seconds,
        peak=row.peak_blocked,
        advice=row.advice,
        waiting=row.waiting,
    )
    return last, share


async def _fill_journal(
    journal: Journal, dsn: str, incident: str | None, since: datetime | None, details: Details
) -> None:
    from pgdoctor.postgres.connection import Connection

    async with await Connection.open(dsn, deadline=_DEADLINE) as connection:
        found = await _copy_entries(connection, journal, incident, since)
        latest = [(server, last) for server, entries in found.items() for last in latest_entries(entries)]
        latest.sort(key=lambda each: each[1].started)
        if details == "named" and incident is None:
            latest = [each for each in latest if each[1].id == latest[-1][1].id]
        for server, last in latest if details != "none" else ():
            await _copy_details(connection, journal, server, last)


async def _copy_entries(
    connection: Any, journal: Journal, incident: str | None, since: datetime | None
) -> dict[str, list[IncidentRecord]]:
    from pgdoctor.postgres.archive import fetch_archived_records

    first = since or datetime(1970, 1, 1, tzinfo=UTC)
    last = datetime.now(UTC) + timedelta(days=366)
    rows = await fetch_archived_records(connection, (KIND,), first, last, subject=incident, most=_MOST)
    if len(rows) == _MOST:
        raise UsageError(f"the archive has more than {_MOST:,} records since then: choose a later --since")
    found: dict[str, list[IncidentRecord]] = {}
    for row in rows:
        journal.append(row.server, row.kind, row.subject, row.body, row.at)
        found.setdefault(row.server, []).extend(read_entries((row.body,))[0])
    return found


async def _copy_details(connection: Any, journal: Journal, server: str, last: IncidentRecord) -> None:
    from pgdoctor.postgres.archive import fetch_archived_records, fetch_archived_snapshots

    first, end = last.started - BEFORE, last.at + AFTER
    for row in await fetch_archived_records(connection, DEEDS, first, end, server=server, most=_MOST):
        journal.append(row.server, row.kind, row.subject, row.body, row.at)
    for row in await fetch_archived_snapshots(connection, last.id):
        if row.server == server:
            journal.keep(server, last.id, row.body, row.at)
