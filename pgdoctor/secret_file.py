"""Files that not everybody may touch: those with a secret, and those that say what pgdoctor does."""

import stat
from pathlib import Path

from pgdoctor.errors import ConfigError


def read_secret(key: str, path: str) -> bytes:
    """The bytes of a file that not every user of the machine may read or change; `key` names it in the ConfigError."""
    try:
        if stat.S_IMODE(Path(path).stat().st_mode) & stat.S_IRWXO:
            raise ConfigError(f"{key}: {path} is open to every user of this machine: chmod o= {path}")
        return Path(path).read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a path"
        raise ConfigError(f"{key}: {path}: cannot be read: {reason}") from None


def find_writers(mode: int) -> str | None:
    """Why a file of this mode cannot be relied on, and what to do; None: all may not write it, or it is a device."""
    if stat.S_ISREG(mode) and mode & stat.S_IWOTH:
        return "every user of this machine may write it: chmod o-w"
    return None
