"""Default path and size limit of the journal."""

from collections.abc import Mapping
from pathlib import Path

#: Bytes that the file takes at most.
MAX_SIZE = 512 * 1024 * 1024


def default_path(environ: Mapping[str, str]) -> Path:
    """Where services keep their state: systemd's STATE_DIRECTORY, else XDG_STATE_HOME, else ~/.local/state."""
    given = environ.get("STATE_DIRECTORY", "").split(":")[0]
    if given:
        return Path(given) / "journal.db"
    home = environ.get("XDG_STATE_HOME") or Path(environ.get("HOME") or "/nonexistent") / ".local" / "state"
    return Path(home) / "pgdoctor" / "journal.db"
