"""The journal as the commands about incidents read it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import click

from pgdoctor.cli._incident_archive import Details, find_archive, open_archive_journal
from pgdoctor.config.config import load_config
from pgdoctor.errors import JournalError, UsageError
from pgdoctor.formatting import format_count
from pgdoctor.incidents.export_file import StoredIncident
from pgdoctor.incidents.incident_log import KIND, IncidentRecord, latest_entries, read_entries
from pgdoctor.journal.store import Journal, JournalRecord

F = TypeVar("F", bound=Callable[..., Any])

#: Incidents that an error names.
_MOST_NAMED = 5


def journal_options(function: F) -> F:
    """`--config` and `--journal`: where the journal lies."""
    function = click.option(
        "--journal", metavar="FILE", envvar="PGDOCTOR_JOURNAL", help="Journal file. Default: from the configuration."
    )(function)
    return click.option("--config", metavar="FILE", envvar="PGDOCTOR_CONFIG", help="Configuration file of the agent.")(
        function
    )


def journal_path(config: str | None, journal: str | None) -> Path:
    """Where the journal lies."""
    return Path(journal) if journal is not None else load_config(config).journal.file


@contextmanager
def open_journal(
    config: str | None,
    journal: str | None,
    *,
    incident: str | None = None,
    since: datetime | None = None,
    details: Details = "none",
) -> Iterator[Journal]:
    """The journal, which has to be there. That it may lack records is said on stderr.

    With `--archive` it has what the archive has: records of all incidents since then, or of one, and all of `details`.
    """
    archive = find_archive()
    if archive is not None:
        with open_archive_journal(archive, incident, since, details) as copied:
            yield copied
        return
    path = journal_path(config, journal)
    if not path.exists():
        raise JournalError(f"there is no journal at {path}: the agent creates it; --journal or --config give its path")
    opened = Journal.open_existing(path)
    try:
        if opened.warning is not None:
            click.echo(f"pgdoctor: {opened.warning}", err=True)
        yield opened
    finally:
        opened.close()


def read_all(journal: Journal, since: datetime | None = None) -> list[IncidentRecord]:
    """The entries of all incidents."""
    return _decode_records(journal.fetch_records(kinds=(KIND,), since=since))


def read_stored(journal: Journal, incident: str | None) -> list[StoredIncident]:
    """All that is stored of an incident, None: of the last one; servers may each have one of that id."""
    from pgdoctor.agent.stored_incidents import read_incident

    if incident is None:
        known = latest_entries(read_all(journal))
        if not known:
            raise UsageError(f"there is no incident in {journal.path} yet")
        incident = known[-1].id
    records = journal.fetch_records(kinds=(KIND,), subject=incident)
    if not records:
        raise UsageError(_describe_unknown(journal, incident))
    servers = dict.fromkeys(record.server for record in records)
    by_server = {name: [each for each in records if each.server == name] for name in servers}
    return [read_incident(journal, name, _decode_records(found)) for name, found in by_server.items()]


def _decode_records(records: Sequence[JournalRecord]) -> list[IncidentRecord]:
    """What can be read of them; that something cannot be is said on stderr. Raises JournalError where nothing can."""
    entries, unread = read_entries(record.body for record in records)
    if unread and not entries:
        raise JournalError("an incident in the journal cannot be read: it is damaged, or of another version")
    if unread:
        left_out = f"{format_count(unread, 'record')} of incidents left out"
        click.echo(f"pgdoctor: {left_out}: they are damaged, or of another version", err=True)
    return entries


def _describe_unknown(journal: Journal, incident: str) -> str:
    known = [each.id for each in latest_entries(read_all(journal))][-_MOST_NAMED:]
    there = f"the latest are {', '.join(known)}" if known else "it has no incidents yet"
    return f"no incident {incident[:50]!r} in {journal.path}: {there}"
