"""Files that `read_log` may read: those below the folders of `--logs`, and no other, whatever the path says."""

import os
from pathlib import Path

import pytest

from pgdoctor.cli._mcp.log_folders import LogFolders
from pgdoctor.errors import UsageError


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "secret.log").write_text("secret")
    return folder


@pytest.fixture
def logs(tmp_path: Path, outside: Path) -> Path:
    folder = tmp_path / "logs"
    (folder / "old" / "older").mkdir(parents=True)
    (folder / "a.log").write_text("a")
    (folder / "old" / "older" / "b.log").write_text("b")
    (folder / "link.log").symlink_to(outside / "secret.log")
    (folder / "inner.log").symlink_to(folder / "a.log")
    (folder / "linked").symlink_to(outside)
    os.mkfifo(folder / "pipe.log")
    return folder


def read(folders: LogFolders, name: str) -> bytes:
    with folders.open_file(name) as descriptor:
        return os.read(descriptor, 100)


def test_files_below_the_folders_are_read(logs: Path, outside: Path) -> None:
    folders = LogFolders([str(logs), str(outside)])
    assert read(folders, "a.log") == read(folders, "./a.log") == read(folders, str(logs / "a.log")) == b"a"
    assert read(folders, "old/older/b.log") == b"b"
    assert read(folders, "secret.log") == b"secret", "it is in the second folder"
    assert {each.name for each in folders.list_files()} == {"a.log", "secret.log"}


@pytest.mark.parametrize(
    "name",
    [
        *("../outside/secret.log", "old/../../outside/secret.log", "old/../a.log", "..", ".", "", "/", "old"),
        *("link.log", "inner.log", "linked/secret.log", "pipe.log", "none.log", "a.log/x", "a.log\0x", "\ud800"),
        *("x" * 5_000, "/".join("x" * 500), "/etc/passwd", "/dev/stdin", "/proc/self/environ", "-", "~/.pgpass"),
    ],
    ids=ascii,
)
def test_other_paths_are_refused(logs: Path, outside: Path, name: str) -> None:
    folders = LogFolders([str(logs)])
    for each in (name, str(outside / "secret.log"), f"{logs}/../outside/secret.log"):
        with pytest.raises(UsageError, match="no such file below a folder of --logs"):
            read(folders, each)


def test_folder_may_itself_be_a_link(tmp_path: Path, logs: Path) -> None:
    (tmp_path / "current").symlink_to(logs)
    folders = LogFolders([str(tmp_path / "current")])
    assert read(folders, "a.log") == b"a"


def test_no_descriptor_is_left_open(logs: Path) -> None:
    folders = LogFolders([str(logs)])
    before = len(list(Path("/proc/self/fd").iterdir()))
    for name in ("a.log", "old/older/b.log", "link.log", "pipe.log", "none.log", "old/none"):
        try:
            read(folders, name)
        except UsageError:
            continue
    assert len(list(Path("/proc/self/fd").iterdir())) == before
