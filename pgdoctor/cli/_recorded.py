"""A recorded incident in place of a server, for `diagnose --from` and `watch --from`."""

import msgspec

from pgdoctor.cli._incident_files import choose_incident, list_snapshots, read_export
from pgdoctor.formatting import format_name
from pgdoctor.incidents.export_file import DatedSnapshot, StoredIncident
from pgdoctor.incidents.snapshot_archive import diagnose_again
from pgdoctor.model.diagnosis import Diagnosis
from pgdoctor.render.incident_story import find_peak
from pgdoctor.render.incident_view import format_moment


class Recording(msgspec.Struct, frozen=True):
    """The snapshots of one incident, the oldest first; there is at least one."""

    name: str
    snapshots: tuple[DatedSnapshot, ...]


def read_recording(file: str, incident: str | None) -> Recording:
    """The snapshots of an incident, None: of the largest. Raises ExportError or UsageError."""
    found = read_export(file)
    chosen = choose_incident(found, file, incident)
    snapshots = sorted(list_snapshots(found, chosen, file), key=lambda each: each.at)
    return Recording(_name_incident(chosen), tuple(snapshots))


def read_worst(file: str, incident: str | None) -> tuple[Diagnosis, str]:
    """The diagnosis of the snapshot with the most blocked sessions, and a line that says what it is."""
    recording = read_recording(file, incident)
    worst = find_peak(recording.snapshots)
    place = recording.snapshots.index(worst) + 1
    origin = f"{recording.name}, snapshot {place} of {len(recording.snapshots)}, of {format_moment(worst.at)} UTC"
    return diagnose_again(worst.stored), origin


def _name_incident(chosen: StoredIncident | None) -> str:
    return f"Incident {format_name(chosen.id)}" if chosen is not None else "No incident"
