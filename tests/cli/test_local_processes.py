"""What sessions take from this machine, by /proc: of a real server, and of one that only seems to be here."""

import asyncio
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace

from pgdoctor.cli._local_processes import LocalProcesses
from pgdoctor.model.activity import Activity
from pgdoctor.postgres.activity import ActivityReader
from pgdoctor.postgres.connection import Connection
from tests.scenes import Scene

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc")


def read_activity(scene: Scene) -> Activity:
    async def work() -> Activity:
        async with await Connection.open(scene.dsn, 10.0) as connection:
            return await ActivityReader(connection).read_activity()

    return asyncio.run(work())


def test_memory_and_processor_of_each_session_are_known(scene: Scene) -> None:
    burner = scene.client(application_name="burner").start("select count(*) from generate_series(1, 100000000000)")
    idle = scene.client("select 1")
    processes = LocalProcesses()

    def taken() -> bool:
        # Each reading is by a connection of its own, which is still there while it is looked for only by chance.
        seen = processes.read_usage(with_own(scene))
        if seen is None:
            return False
        assert seen.load is not None
        assert (seen.processes[idle.pid].memory or 0) > 0
        return (seen.processes[burner.pid].cpu or 0.0) > max(seen.processes[idle.pid].cpu or 0.0, 0.0)

    scene.wait_until(taken)


def with_own(scene: Scene) -> Activity:
    """What is read, as by the session of the test, which stays."""
    pid = scene.admin.info.backend_pid
    [(began,)] = scene.admin.execute("select backend_start from pg_stat_activity where pid = %s", [pid]).fetchall()
    return replace(read_activity(scene), own_pid=pid, own_start=began)


def test_a_server_elsewhere_is_not_taken_for_a_local_one(scene: Scene, tmp_path: Path) -> None:
    activity = with_own(scene)
    assert LocalProcesses().read_usage(activity) is not None
    began = activity.own_start
    assert began is not None
    for other in (
        replace(activity, own_pid=None),
        replace(activity, own_start=None),
        replace(activity, own_start=began - timedelta(hours=1)),
        replace(activity, own_pid=1),
        replace(activity, own_pid=2**31 - 1),
    ):
        assert LocalProcesses().read_usage(other) is None
    assert LocalProcesses(tmp_path).read_usage(activity) is None


def test_unreadable_processes_are_left_out(scene: Scene, tmp_path: Path) -> None:
    """As another user than the server's, the kernel shows no storage; and a session may end while it is read."""
    activity = with_own(scene)
    (tmp_path / "stat").write_text(Path("/proc/stat").read_text())
    folder = tmp_path / str(activity.own_pid)
    folder.mkdir()
    (folder / "stat").write_text(Path(f"/proc/{activity.own_pid}/stat").read_text())
    processes = LocalProcesses(tmp_path)
    seen = processes.read_usage(activity)
    assert seen is not None
    assert list(seen.processes) == [each.pid for each in activity.sessions if each.pid == activity.own_pid]
    assert all(usage.read is usage.written is usage.memory is None for usage in seen.processes.values())
