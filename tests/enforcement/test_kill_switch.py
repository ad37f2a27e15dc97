"""The kill-switch file: there, not there, or unknown."""

import asyncio
import os
import threading
from pathlib import Path

import pytest

from pgdoctor.enforcement.kill_switch import KillSwitchFile, read_kill_switch


def test_without_one_nothing_is_stopped(tmp_path: Path) -> None:
    assert read_kill_switch(str(tmp_path / "stop")) is None
    assert asyncio.run(KillSwitchFile(lambda: None).read_reason()) is None
    assert asyncio.run(KillSwitchFile(lambda: str(tmp_path / "stop")).read_reason()) is None


@pytest.mark.parametrize("make", [Path.touch, Path.mkdir, lambda path: path.symlink_to("/nowhere")])
def test_any_kill_switch_file_stops(tmp_path: Path, make: object) -> None:
    make(tmp_path / "stop")  # type: ignore[operator]
    assert read_kill_switch(str(tmp_path / "stop")) == f"the kill-switch file {tmp_path / 'stop'} exists"


@pytest.mark.parametrize("path", ["missing/stop", "file/stop", "x" * 5000, "null\0byte"])
def test_unknown_record_stops_actions(tmp_path: Path, path: str) -> None:
    (tmp_path / "file").touch()
    said = read_kill_switch(f"{tmp_path}/{path}")
    assert said is not None
    assert "cannot be" in said


def test_a_folder_that_may_not_be_read_stops(tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o000)
    was = os.geteuid()
    if was == 0:
        os.seteuid(65534)
    try:
        said = read_kill_switch(str(tmp_path / "locked" / "stop"))
    finally:
        os.seteuid(was)
    assert "Permission denied" in str(said)


def test_a_file_system_that_hangs_stops_and_delays_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Staged where the answer comes from, for a file system that hangs takes more rights than a test has."""
    back, asked = threading.Event(), []
    there = os.lstat

    def lstat(path: str) -> os.stat_result:
        asked.append(path)
        back.wait(30)
        return there(path)

    async def work() -> None:
        switch = KillSwitchFile(lambda: str(tmp_path / "stop"), deadline=0.05)
        for _ in range(3):
            said = await switch.read_reason()
            assert said is not None
            assert "does not answer" in said
        assert len(asked) == 1, "one thread hangs, and not more"
        back.set()
        assert switch._hanging is not None
        await asyncio.to_thread(switch._hanging.join)
        assert await switch.read_reason() is None
        (tmp_path / "stop").touch()
        assert "exists" in str(await switch.read_reason())

    # Only for this long: Python 3.13 removes folders by lstat, too.
    with monkeypatch.context() as patched:
        patched.setattr(os, "lstat", lstat)
        try:
            asyncio.run(work())
        finally:
            back.set()
