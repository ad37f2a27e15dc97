"""Files that say what pgdoctor does, and that others may write: a writer decides which session is signalled."""

import grp
import os
import pwd
from pathlib import Path

import pytest

from pgdoctor.agent.polling.reconnector import DsnFile
from pgdoctor.config.config import Config, load_config
from pgdoctor.errors import ConfigError, JournalError, UsageError
from pgdoctor.journal.store import Journal


def written(path: Path, text: str, mode: int) -> str:
    path.write_text(text)
    path.chmod(mode)
    return str(path)


@pytest.mark.parametrize("mode", [0o666, 0o602, 0o646])
def test_a_configuration_that_all_may_write_is_refused(tmp_path: Path, mode: int) -> None:
    path = written(tmp_path / "pgdoctor.toml", "", mode)
    with pytest.raises(ConfigError, match=f"every user of this machine may write it: chmod o-w {path}$"):
        load_config(path)


@pytest.mark.parametrize("mode", [0o666, 0o602])
def test_a_dsn_file_that_all_may_write_is_refused(tmp_path: Path, mode: int) -> None:
    path = written(tmp_path / "dsn", "host=db password=zq7", mode)
    with pytest.raises(UsageError, match="chmod o-w") as refused:
        DsnFile(path).read()
    assert "zq7" not in str(refused.value)


def test_a_journal_that_all_may_write_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    Journal.open(path).close()
    path.chmod(0o666)
    with pytest.raises(JournalError, match="chmod o-w"):
        Journal.open(path)
    path.chmod(0o660)
    Journal.open(path).close()


@pytest.fixture
def shared_group() -> int:
    """A group that has members besides root and us."""
    own = {"root", pwd.getpwuid(os.geteuid()).pw_name}
    groups = [each.gr_gid for each in grp.getgrall() if set(each.gr_mem) - own]
    if os.geteuid() != 0 or not groups:
        pytest.skip("it takes root, and a group with members")
    return groups[0]


@pytest.mark.parametrize("mode", [0o660, 0o664])
def test_files_that_another_member_of_the_group_may_write_are_refused(
    tmp_path: Path, shared_group: int, mode: int
) -> None:
    journal = tmp_path / "journal.db"
    Journal.open(journal).close()
    journal.chmod(mode)
    paths = [written(tmp_path / name, "", mode) for name in ("pgdoctor.toml", "dsn")]
    for path in (*paths, journal):
        os.chown(path, -1, shared_group)
    said = "may write it, as a member of its group: chmod g-w"
    with pytest.raises(ConfigError, match=said):
        load_config(paths[0])
    with pytest.raises(UsageError, match=said):
        DsnFile(paths[1]).read()
    with pytest.raises(JournalError, match=said):
        Journal.open(journal)
    Path(paths[0]).chmod(0o644)
    assert load_config(paths[0]) == Config()


@pytest.mark.parametrize("exists", [True, False])
def test_a_journal_that_is_a_symbolic_link_is_refused_and_what_it_leads_to_left_alone(
    tmp_path: Path, exists: bool
) -> None:
    target = tmp_path / "target"
    if exists:
        target.write_text("somebody else's")
    (tmp_path / "journal.db").symlink_to(target)
    with pytest.raises(JournalError, match="is a symbolic link"):
        Journal.open(tmp_path / "journal.db")
    assert target.exists() == exists
    assert not exists or target.read_text() == "somebody else's"


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o664])
def test_files_as_they_are_usually_mounted_are_read(tmp_path: Path, mode: int) -> None:
    """Kubernetes mounts a configuration as a symbolic link to a file that all may read."""
    written(tmp_path / "data", "", mode)
    (tmp_path / "pgdoctor.toml").symlink_to(tmp_path / "data")
    assert load_config(str(tmp_path / "pgdoctor.toml")) == Config()
    written(tmp_path / "secret", "host=db", mode)
    (tmp_path / "dsn").symlink_to(tmp_path / "secret")
    assert DsnFile(str(tmp_path / "dsn")).read() == "host=db"


def test_a_device_is_no_file_that_others_may_write() -> None:
    assert load_config("/dev/null") == Config()
