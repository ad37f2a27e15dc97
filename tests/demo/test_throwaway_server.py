"""The temporary server: what it promises to be, and that it goes in every way that a process can end."""

import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest

from pgdoctor.demo.failures import BinariesMissing, ServerFailed
from pgdoctor.demo.programs import Binaries
from pgdoctor.demo.throwaway_server import ThrowawayServer
from tests.scenes.client import wait_until

ALONE = """
import sys, time
from pgdoctor.demo.throwaway_server import ThrowawayServer
with ThrowawayServer(bindir=sys.argv[1], keep="keep" in sys.argv) as server:
    print(server.folder, server.pid, server.dsn, flush=True)
    time.sleep(60 if "wait" in sys.argv else 0)
"""


@pytest.fixture
def own_server(bindir):
    """Start a server as `pgdoctor demo` does, not as a copy of another."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(ThrowawayServer(bindir=bindir, **options))


@pytest.fixture
def alone(bindir):
    """Start a server from a process of its own; returns that process, the folder, the postmaster and the DSN."""
    started = []

    def start(*words):
        process = subprocess.Popen([sys.executable, "-c", ALONE, bindir, *words], stdout=subprocess.PIPE, text=True)
        started.append(process)
        folder, pid, dsn = process.stdout.readline().split()
        return process, Path(folder), int(pid), dsn

    yield start
    for process in started:
        process.kill()
        process.communicate()


def answers(dsn):
    with psycopg.connect(dsn) as connection:
        return connection.execute("select 1").fetchone() == (1,)


def alive(pid):
    # A process that was not waited for yet is dead all the same.
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def test_it_is_the_version_and_has_the_settings_that_were_asked_for(own_server):
    server = own_server(max_connections=7, settings={"cluster_name": r"it's a \ test"})
    with psycopg.connect(server.dsn) as connection:
        assert connection.info.server_version == server.version_num
        shown = [connection.execute(f"show {name}").fetchone()[0] for name in ("max_connections", "cluster_name")]
        assert shown == ["7", r"it's a \ test"]


def test_a_wrong_password_does_not_get_in(own_server):
    server = own_server()
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(server.dsn, password="guess")


def test_its_password_is_in_no_file_and_no_representation(own_server):
    server = own_server()
    password = server.dsn.partition("postgres:")[2].partition("@")[0]
    assert password not in repr(server)
    assert not (server.folder / "password").exists()
    assert password not in server.log.read_text()


@pytest.mark.parametrize("mode", ["fast", pytest.param("immediate", marks=pytest.mark.long)])
def test_a_restart_keeps_port_and_data(own_server, mode):
    server = own_server()
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        connection.execute("create table kept as select 42 as answer")
    before = server.dsn, server.pid
    server.halt(mode)
    server.start()
    assert server.dsn == before[0]
    assert server.pid != before[1]
    with psycopg.connect(server.dsn) as connection:
        assert connection.execute("select answer from kept").fetchone() == (42,)


@pytest.mark.long
def test_a_halted_server_is_away_until_it_is_started_again(own_server):
    server = own_server()
    server.halt()
    with pytest.raises(psycopg.OperationalError, match="refused"):
        psycopg.connect(server.dsn)
    server.start()
    assert answers(server.dsn)


def test_after_stop_nothing_is_left_and_stopping_again_does_no_harm(own_server):
    server = own_server()
    folder, pid = server.folder, server.pid
    server.stop()
    server.stop()
    assert not folder.exists()
    assert not alive(pid)


@pytest.mark.long
@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_it_goes_when_its_process_is_killed(alone, end):
    process, folder, pid, dsn = alone("wait")
    assert answers(dsn)
    process.send_signal(end)
    process.wait()
    wait_until(lambda: not folder.exists() and not alive(pid))


@pytest.mark.long
def test_ctrl_c_in_a_terminal_does_not_reach_the_server_first(alone):
    process, _, pid, _ = alone("wait")
    assert os.getpgid(pid) != os.getpgid(process.pid)
    assert os.getsid(pid) != os.getsid(process.pid)


def test_a_kept_server_outlives_its_process(alone):
    process, folder, pid, dsn = alone("keep")
    process.wait()
    time.sleep(0.3)
    assert answers(dsn)
    os.kill(pid, signal.SIGQUIT)
    wait_until(lambda: not alive(pid))
    subprocess.run(["rm", "-r", folder], check=True)


def test_no_binaries_are_one_clear_line(tmp_path):
    with pytest.raises(BinariesMissing, match=f"^no PostgreSQL server to start: {tmp_path} has no program `initdb`$"):
        ThrowawayServer(bindir=tmp_path).start()


@pytest.mark.long
def test_a_server_that_does_not_start_says_why_and_leaves_nothing(own_server, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(ServerFailed, match='unrecognized configuration parameter "no_such"') as failure:
        own_server(settings={"no_such": 1})
    assert "\n" not in str(failure.value)
    assert failure.value.exit_status == 3
    assert list(tmp_path.iterdir()) == []


@pytest.mark.long
@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to change the user")
def test_programs_out_of_the_users_reach_are_copied(bindir, tmp_path):
    binaries = Binaries.find(bindir).copy_to(tmp_path / "private home")
    (tmp_path / "private home").chmod(0o700)
    with ThrowawayServer(bindir=binaries.bindir) as server:
        assert answers(server.dsn)
        assert server.bindir.is_relative_to(server.folder)


@pytest.mark.long
def test_a_port_that_is_taken_is_left_for_another(own_server, monkeypatch):
    first = own_server()
    ports = iter([first.port, first.port, first.port + 1])
    monkeypatch.setattr("pgdoctor.demo.throwaway_server._free_port", lambda: next(ports))
    assert own_server().port == first.port + 1
