"""Files of exported incidents: read piece by piece, written for their owner alone, and never half."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import click

from pgdoctor.errors import ExportError, UsageError
from pgdoctor.formatting import format_count
from pgdoctor.incidents.export_file import DatedSnapshot, IncidentFile, StoredIncident, decode_export

STDIO = "-"

_PIECE = 1 << 20


def read_export(name: str) -> IncidentFile:
    """The content of a file, `-`: of standard input. Raises ExportError or UsageError, in one line."""
    try:
        found = decode_export(_read_pieces(name))
    except ExportError as error:
        raise ExportError(f"{_quote_name(name)} {error}") from None
    if found.left_out:
        lines = format_count(found.left_out, "line")
        click.echo(f"pgdoctor: {lines} of {_quote_name(name)} left out: they are of a later version", err=True)
    return found


def choose_incident(found: IncidentFile, name: str, incident: str | None) -> StoredIncident | None:
    """The incident of that id; without one, the one with the most blocked sessions; None: there is none at all."""
    if incident is None:
        return max(found.incidents, key=lambda each: each.entries[-1].peak, default=None)
    chosen = next((each for each in found.incidents if each.id == incident), None)
    if chosen is None:
        known = ", ".join(each.id for each in found.incidents[:5]) or "none"
        raise UsageError(f"no incident {incident[:50]!r} in {_quote_name(name)}: it has {known}")
    return chosen


def list_snapshots(found: IncidentFile, chosen: StoredIncident | None, name: str) -> tuple[DatedSnapshot, ...]:
    """The snapshots of an incident, or else those without a blocked session. Raises UsageError where there is none."""
    snapshots = chosen.snapshots if chosen is not None else found.quiet
    if not snapshots:
        raise UsageError(f"{_quote_name(name)} has no snapshot: none of its incident was stored")
    return snapshots


def check_free(name: str, *, force: bool) -> None:
    """Raises UsageError for a file that is there, unless `force` is set."""
    if name != STDIO and not force and os.path.lexists(name):
        raise UsageError(f"{name} is there already: name another file, or add --force")


def write_private(name: str, write: Callable[[Path], None], *, force: bool) -> Path:
    """Let `write` fill a file beside the one of that name, which then takes its place; for its owner alone.

    Raises UsageError for a file that is there, unless `force` is set.
    """
    check_free(name, force=force)
    path = Path(name)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        os.close(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
        try:
            write(beside)
            _sync_folder(beside)
            beside.replace(path)
        finally:
            with suppress(FileNotFoundError):
                beside.unlink()
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror or type(error).__name__}") from None
    return path


def write_bytes(name: str, body: bytes, *, force: bool) -> None:
    """Write a file for its owner alone; `-` is standard output."""
    if name == STDIO:
        click.echo(body, nl=False)
        return
    write_private(name, lambda path: _write_file(path, body), force=force)


def _write_file(path: Path, body: bytes) -> None:
    path.write_bytes(body)


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read_pieces(name: str) -> Iterator[bytes]:
    try:
        if name == STDIO:
            yield from iter(lambda: sys.stdin.buffer.read(_PIECE), b"")
            return
        with Path(name).open("rb") as file:
            yield from iter(lambda: file.read(_PIECE), b"")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise UsageError(f"{_quote_name(name)} cannot be read: {reason}") from None


def _quote_name(name: str) -> str:
    return "standard input" if name == STDIO else name
