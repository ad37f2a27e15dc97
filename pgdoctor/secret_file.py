"""Files with restricted permissions: those with a secret, and those that control pgdoctor."""

import grp
import os
import pwd
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


def find_writers(found: os.stat_result) -> str | None:
    """Why a file cannot be relied on, and what to do; None: no other user may write it, or it is a device.

    A group may write it that has no members but its owner, root and us: the group of a user, or that of a volume which
    a container is given. Only members by name are known; those whose main group it is are not listed with it.
    """
    if not stat.S_ISREG(found.st_mode):
        return None
    if found.st_mode & stat.S_IWOTH:
        return "every user of this machine may write it: chmod o-w"
    if found.st_mode & stat.S_IWGRP and (members := _other_members(found)):
        return f"{members} may write it, as a member of its group: chmod g-w"
    return None


def _other_members(found: os.stat_result) -> str:
    """A member of a file's group other than its owner; empty if there is none."""
    try:
        members = grp.getgrgid(found.st_gid).gr_mem
    except KeyError:
        return ""
    own = {"root", *filter(None, map(_user_name, (found.st_uid, os.geteuid())))}
    return next((name for name in members if name not in own), "")


def _user_name(uid: int) -> str | None:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return None
