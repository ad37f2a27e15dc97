"""Folders whose files a client may read, and nothing outside of them: no other path, no symbolic link."""

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from pgdoctor.errors import UsageError
from pgdoctor.render.brief.log import LogFileFacts

#: Files that are looked at in a folder, and folders below each other.
_MOST_FILES = 10_000
_DEEPEST = 8


class LogFolders:
    """The folders that the operator has allowed. Raises UsageError where one is none."""

    def __init__(self, folders: Sequence[str]) -> None:
        self._folders = [_resolve_folder(each) for each in folders]

    def list_files(self) -> list[LogFileFacts]:
        """The regular files directly in the folders, the latest first."""
        found = [each for folder in self._folders for each in _list_folder(folder)]
        return sorted(found, key=lambda each: (each.modified, each.name), reverse=True)

    @contextmanager
    def open_file(self, name: str) -> Iterator[int]:
        """A descriptor of the file, which is below an allowed folder. Raises UsageError.

        Each part of the path is opened relative to the one before, without following links: what is checked is what is
        read, though the folder may change meanwhile.
        """
        descriptor = next((each for each in (_open_below(one, name) for one in self._folders) if each >= 0), -1)
        if descriptor < 0:
            raise UsageError(f"no such file below a folder of --logs: {name[:200]!r}")
        try:
            yield descriptor
        finally:
            os.close(descriptor)


def _resolve_folder(folder: str) -> Path:
    try:
        found = Path(folder).resolve(strict=True)
    except OSError as error:
        raise UsageError(f"--logs {folder}: {error.strerror or 'cannot be read'}") from None
    if not found.is_dir():
        raise UsageError(f"--logs {folder}: not a folder")
    return found


def _list_folder(folder: Path) -> Iterator[LogFileFacts]:
    try:
        with os.scandir(folder) as entries:
            for _, entry in zip(range(_MOST_FILES), entries, strict=False):
                facts = entry.stat(follow_symlinks=False)
                if stat.S_ISREG(facts.st_mode):
                    modified = datetime.fromtimestamp(facts.st_mtime, UTC).isoformat(timespec="seconds")
                    yield LogFileFacts(entry.name, facts.st_size, modified)
    except OSError:
        return


def _open_below(folder: Path, name: str) -> int:
    """A descriptor of a regular file below the folder; -1: there is none of that name."""
    parts = _split_name(folder, name)
    if not parts:
        return -1
    opened: list[int] = []
    try:
        opened.append(os.open(folder, os.O_RDONLY | os.O_DIRECTORY))
        for part in parts[:-1]:
            opened.append(os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=opened[-1]))
        # Without waiting: the name may be that of a pipe.
        file = os.open(parts[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=opened[-1])
    except (OSError, ValueError):
        return -1
    finally:
        for each in opened:
            os.close(each)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        return -1
    return file


def _split_name(folder: Path, name: str) -> tuple[str, ...]:
    """The parts below the folder; none for a path that leads elsewhere."""
    path = PurePosixPath(name)
    if path.is_absolute():
        if not path.is_relative_to(folder):
            return ()
        path = path.relative_to(folder)
    return path.parts if 0 < len(path.parts) <= _DEEPEST and ".." not in path.parts else ()
