"""Whatever becomes of its stderr, the agent goes on, and counts what could not be read."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.agent.conftest import NOBODY
from tests.agent.running import series
from tests.scenes.client import wait_until


@contextmanager
def full_pipe() -> Iterator[int]:
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    with suppress(BlockingIOError):
        while os.write(write_end, b"x" * 4096):
            pass
    os.set_blocking(write_end, True)
    yield write_end
    os.close(read_end)
    os.close(write_end)


@contextmanager
def pipe_without_reader() -> Iterator[int]:
    read_end, write_end = os.pipe()
    os.close(read_end)
    yield write_end
    os.close(write_end)


@contextmanager
def full_disk() -> Iterator[int]:
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full here")
    descriptor = os.open("/dev/full", os.O_WRONLY)
    yield descriptor
    os.close(descriptor)


@pytest.mark.parametrize("opened", [full_pipe, pipe_without_reader, full_disk])
def test_a_stderr_that_takes_nothing_does_not_stop_it(opened):
    with opened() as stderr, started(stderr) as (process, port):
        before = dropped(port)
        assert before > 0
        process.send_signal(signal.SIGHUP)
        wait_until(lambda: dropped(port) > before, what="another line that nobody could read")
        process.terminate()
        assert process.wait(5) == 0


def test_lines_for_people(tmp_path):
    said = tmp_path / "stderr"
    with said.open("wb") as stderr, started(stderr.fileno(), "--log-format", "text") as (process, port):
        wait_until(lambda: "server cannot be polled" in said.read_text())
        process.terminate()
        assert process.wait(5) == 0
    lines = said.read_text().splitlines()
    assert f" info pgdoctor.agent.process listening host=127.0.0.1 port={port} " in lines[0]
    assert lines[-1].endswith(" info pgdoctor.agent.process stopped")
    assert "hunter2" not in "".join(lines)


def test_the_rate_is_that_of_the_configuration(tmp_path):
    said, config = tmp_path / "stderr", tmp_path / "pgdoctor.toml"
    config.write_text("[log]\nlines_per_second = 1\n")
    with said.open("wb") as stderr, started(stderr.fileno(), "--config", str(config)) as (process, _):
        wait_until(lambda: "listening" in said.read_text())
        for _ in range(20):
            process.send_signal(signal.SIGHUP)
            time.sleep(0.02)
        wait_until(lambda: "dropped_logs" in said.read_text())
    told = [json.loads(line) for line in said.read_text().splitlines() if line.startswith('{"dropped_logs"')]
    assert told[0] == {"dropped_logs": told[0]["dropped_logs"], "reason": "Rate-limit threshold breached"}


@contextmanager
def started(stderr: int, *more: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    command = [sys.executable, "-m", "pgdoctor", "agent", "--dsn", NOBODY, *more]
    with listening(command, stderr=stderr) as (process, port):
        yield process, port


@contextmanager
def listening(command: list[str], **options: Any) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """An agent and its port, once it listens; known from the system, for no process may be able to read what it
    says."""
    with subprocess.Popen([*command, "--listen", "127.0.0.1:0"], **options) as process:
        try:
            port = wait_until(lambda: process.poll() is None and port_of(process.pid), 20, "a listening agent")
            yield process, port
        finally:
            process.kill()


def port_of(pid: int) -> int | None:
    """Where a process listens; None before it does."""
    sockets = psutil.Process(pid).net_connections("tcp")
    return next((each.laddr.port for each in sockets if each.status == psutil.CONN_LISTEN), None)


def dropped(port: int) -> float:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
        return series(answer.read().decode())["pgdoctor_log_messages_dropped_total"]
