"""The kill-switch file: there, not there, or nobody can tell."""

import os
from pathlib import Path

import pytest

from pgdoctor.mitigation.kill_switch import pulled


def test_without_one_nothing_is_stopped(tmp_path: Path) -> None:
    assert pulled(None) is None
    assert pulled(str(tmp_path / "stop")) is None


@pytest.mark.parametrize("make", [Path.touch, Path.mkdir, lambda path: path.symlink_to("/nowhere")])
def test_whatever_it_is_it_stops(tmp_path: Path, make: object) -> None:
    make(tmp_path / "stop")  # type: ignore[operator]
    assert pulled(str(tmp_path / "stop")) == f"the kill-switch file {tmp_path / 'stop'} is there"


@pytest.mark.parametrize("path", ["missing/stop", "file/stop", "x" * 5000, "null\0byte"])
def test_what_cannot_be_told_stops(tmp_path: Path, path: str) -> None:
    (tmp_path / "file").touch()
    said = pulled(f"{tmp_path}/{path}")
    assert said is not None
    assert "cannot be" in said


def test_a_folder_that_may_not_be_read_stops(tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o000)
    was = os.geteuid()
    if was == 0:
        os.seteuid(65534)
    try:
        said = pulled(str(tmp_path / "locked" / "stop"))
    finally:
        os.seteuid(was)
    assert "Permission denied" in str(said)
