"""`pgdoctor incidents export`, `import` and `backup`: incidents leave the machine, and come to another one."""

from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import click

from pgdoctor import __version__
from pgdoctor.cli._incident_archive import find_archive
from pgdoctor.cli._incident_files import STDIO, read_export, write_bytes, write_private
from pgdoctor.cli._incident_journal import journal_options, journal_path, open_journal, read_stored
from pgdoctor.errors import JournalError, UsageError
from pgdoctor.formatting import format_count, format_size
from pgdoctor.incidents.export_file import IncidentFile, StoredIncident, encode_export
from pgdoctor.journal.store import Journal

_force_option = click.option("--force", is_flag=True, help="Replace an existing file.")


@click.command("export")
@click.argument("incident", required=False, metavar="[ID]")
@click.option("--out", metavar="FILE", help="Default: incident-ID.json.gz. `-` is standard output.")
@_force_option
@journal_options
def export(incident: str | None, out: str | None, force: bool, config: str | None, journal: str | None) -> None:
    """Write an incident to one file.

    ID defaults to the last incident. The file has no literal of a statement, and only its owner may read it. It is
    JSON in gzip, and opens with this and later versions: incidents import, diagnose --from, watch --from.
    """
    with open_journal(config, journal, incident=incident, details="named") as opened:
        found = read_stored(opened, incident)
    body = encode_export(found, __version__, datetime.now(UTC))
    name = out or f"incident-{found[0].id}.json.gz"
    write_bytes(name, body, force=force)
    if name != STDIO:
        snapshots = sum(len(each.snapshots) for each in found)
        click.echo(f"{name}: incident {found[0].id}, {format_count(snapshots, 'snapshot')}, {_format_body_size(body)}")


@click.command("import")
@click.argument("file", metavar="FILE")
@journal_options
def import_(file: str, config: str | None, journal: str | None) -> None:
    """Take exported incidents into a journal.

    The journal is created if it does not exist. Imported incidents are listed, shown, reported and replayed as others
    are. No agent continues them, and no guard or budget counts what was done during them.
    """
    found = read_export(file)
    if not found.incidents:
        raise UsageError(f"{file} has no incident: no session was blocked")
    with closing(Journal.open(journal_path(config, journal))) as opened:
        for each in found.incidents:
            click.echo(_import_incident(opened, each, found))


@click.command("backup")
@click.argument("file", metavar="FILE")
@_force_option
@journal_options
def backup(file: str, force: bool, config: str | None, journal: str | None) -> None:
    """Copy the whole journal while an agent writes to it.

    The copy is one file without a write-ahead log beside it. Only its owner may read it.
    """
    if find_archive() is not None:
        raise UsageError("backup copies a journal, not an archive: use pg_dump")
    with open_journal(config, journal) as opened:
        if Path(file).exists() and Path(file).samefile(opened.path):
            raise UsageError(f"{file} is the journal itself: name another file")
        path = write_private(file, opened.backup, force=force)
    click.echo(f"{path}: {format_size(path.stat().st_size)}")


def _import_incident(journal: Journal, incident: StoredIncident, found: IncidentFile) -> str:
    """What came of it, in a line."""
    from pgdoctor.agent.stored_incidents import IMPORTED, find_copy, import_incident
    from pgdoctor.render.incident_story import make_story

    # Nothing comes into a journal that no command could read there.
    make_story(incident, only_peak=True)
    there = find_copy(journal, incident)
    if there is not None and not there.startswith(IMPORTED):
        return f"{incident.id}: an agent recorded it in {journal.path}, so it is not imported"
    if not import_incident(journal, incident):
        raise JournalError(f"the journal {journal.path} has no room for {incident.id}: raise [journal] max_size")
    again = ", in place of an earlier import" if there is not None else ""
    snapshots = format_count(len(incident.snapshots), "snapshot")
    written = f"written {found.written_at:%Y-%m-%d %H:%M:%S} UTC"
    return f"{incident.id}: {snapshots}, {written}{again}; pgdoctor incidents show {incident.id}"


def _format_body_size(body: bytes) -> str:
    return format_size(len(body))
