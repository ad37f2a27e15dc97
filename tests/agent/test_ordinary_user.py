"""It needs nothing but to read its files: no root, no home, no place to write."""

import os
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.agent.conftest import NOBODY
from tests.agent.running import series
from tests.agent.test_stderr import listening
from tests.scenes.client import wait_until

#: A mount namespace of its own, in which everything is read-only; then no user may read more than this test (the
#: interpreter may live in root's home), and change nothing.
READ_ONLY = """
mount -o remount,bind,ro /
for each in /tmp /var /run /home /root /dev/shm; do
    mount --bind $each $each 2>/dev/null && mount -o remount,bind,ro $each
done
touch /tmp/pgdoctor-writes 2>/dev/null && exit 1
exec setpriv --reuid=65534 --regid=65534 --clear-groups --no-new-privs --inh-caps=-all,+dac_read_search \
    --ambient-caps=-all,+dac_read_search --bounding-set=-all,+dac_read_search "$@"
"""

ROOT = Path(__file__).parents[2]


def can_make_read_only() -> bool:
    if not (shutil.which("unshare") and shutil.which("setpriv")):
        return False
    attempt = ["unshare", "--mount", "mount", "-o", "remount,bind,ro", "/"]
    return subprocess.run(attempt, capture_output=True, check=False).returncode == 0


AGENT = (sys.executable, "-m", "pgdoctor", "agent")


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PGDOCTOR_DSN": NOBODY, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]), **more}


def works(port: int) -> None:
    """It polls, answers and counts no line as lost."""

    def metrics() -> dict[str, float]:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
            return series(answer.read().decode())

    wait_until(lambda: metrics()['pgdoctor_connection_state{state="refused"}'] == 1)
    assert metrics()["pgdoctor_log_messages_dropped_total"] == 0


def test_an_ordinary_user_on_a_read_only_file_system():
    if not can_make_read_only():
        pytest.skip("only root, and not in every container, can make a file system read-only")
    command = ["unshare", "--mount", "sh", "-c", READ_ONLY, "sh", *AGENT]
    with listening(command, env=environment()) as (process, port):
        status = Path(f"/proc/{process.pid}/status").read_text()
        assert "\nUid:\t65534\t65534\t65534\t65534\n" in status
        works(port)
        process.terminate()
        assert process.wait(5) == 0


def test_without_a_home_a_temporary_folder_or_a_folder_of_its_own():
    nowhere = environment(HOME="/nonexistent", TMPDIR="/nonexistent", XDG_CACHE_HOME="/nonexistent")
    with listening([*AGENT], env=nowhere, cwd="/") as (process, port):
        works(port)
        process.terminate()
        assert process.wait(5) == 0
