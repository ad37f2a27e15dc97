"""The kill-switch file: while it is there nobody is signalled, whoever put it there and whatever is in it."""

import os
from pathlib import Path
from stat import S_ISDIR


def pulled(path: str | None) -> str | None:
    """Why the file says stop; None where there is none, or none is configured.

    What cannot be told counts as stop, and so does a folder that is not there: nobody could put a file into it.
    """
    if path is None:
        return None
    try:
        os.lstat(path)
    except FileNotFoundError:
        return _without_a_folder(Path(path).parent)
    except (OSError, ValueError) as error:
        return f"whether the kill-switch file {path} is there cannot be told: {_said(error)}"
    return f"the kill-switch file {path} is there"


def _without_a_folder(folder: Path) -> str | None:
    try:
        if S_ISDIR(folder.stat().st_mode) and os.access(folder, os.X_OK):
            return None
        why = "it is not one, or not readable"
    except OSError as error:
        why = _said(error)
    return f"the folder of the kill-switch file, {folder}, cannot be used, so nobody could put it there: {why}"


def _said(error: Exception) -> str:
    return getattr(error, "strerror", None) or "not a path"
