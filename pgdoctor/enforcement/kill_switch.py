"""The kill-switch file: while it exists no session is signalled, whatever its owner and content."""

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from stat import S_ISDIR
from threading import Thread

#: Seconds in which the file system has to answer. Over a network it may hang for ever.
_DEADLINE = 1.0


class KillSwitchFile:
    """Checks for the file in a thread, so that a hanging file system delays no poll. `path` is called each time."""

    def __init__(self, path: Callable[[], str | None], deadline: float = _DEADLINE) -> None:
        self._path = path
        self._deadline = deadline
        self._hanging: Thread | None = None

    async def read_reason(self) -> str | None:
        """Why the file says stop; None where there is none, or none is configured. No answer in time is a stop too."""
        path = self._path()
        if path is None:
            return None
        unanswered = f"the kill-switch file {path} cannot be checked: its file system does not answer"
        if self._hanging is not None and self._hanging.is_alive():
            return unanswered
        loop, answered, said = asyncio.get_running_loop(), asyncio.Event(), list[str | None]()

        def ask() -> None:
            said.append(read_kill_switch(path))
            with suppress(RuntimeError):  # Too late: the caller has stopped waiting.
                loop.call_soon_threadsafe(answered.set)

        # A daemon: it would hold up the end of the process as well.
        thread = Thread(target=ask, name="kill-switch", daemon=True)
        thread.start()
        try:
            async with asyncio.timeout(self._deadline):
                await answered.wait()
        except TimeoutError:
            self._hanging = thread
            return unanswered
        return said[0]


def read_kill_switch(path: str) -> str | None:
    """Check in this thread, however long it takes.

    A file that cannot be checked counts as a stop. So does a missing folder: no operator could create a file in it.
    """
    try:
        os.lstat(path)
    except FileNotFoundError:
        return _without_a_folder(Path(path).parent)
    except (OSError, ValueError) as error:
        return f"the kill-switch file {path} cannot be checked: {_describe_error(error)}"
    return f"the kill-switch file {path} exists"


def _without_a_folder(folder: Path) -> str | None:
    try:
        if S_ISDIR(folder.stat().st_mode) and os.access(folder, os.X_OK):
            return None
        why = "not a directory, or not accessible"
    except OSError as error:
        why = _describe_error(error)
    return f"the directory of the kill-switch file, {folder}, cannot be used: {why}"


def _describe_error(error: Exception) -> str:
    return getattr(error, "strerror", None) or "not a path"
