"""An agent that runs as its users run it: a process, HTTP, signals, and what it writes to stderr."""

import json
import os
import signal
import subprocess
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import httpx
from psycopg.conninfo import conninfo_to_dict

from tests.forked import start_pgdoctor
from tests.scenes.client import wait_until

#: Seconds in which an answer over HTTP has to come, whatever the database does; on a busy machine too.
PROMPT = 5.0

#: Seconds in which it ends on a signal, on a busy machine too; deadlines that must not matter there are longer.
SOON = 15.0

#: Seconds to wait for what should come after a few polls, on a busy machine too.
_PATIENCE = 30.0


class RunningAgent:
    """Started on a free port; returns once it listens."""

    def __init__(
        self,
        dsn: str | None,
        config: Path,
        interval: str = "200ms",
        deadline: str = "1s",
        share: float = 1.0,
        more: str = "",
        arguments: tuple[str, ...] = (),
        prompt: float = PROMPT,
        forked: bool = True,
    ) -> None:
        self.config = config
        self.configure(f'[agent]\ninterval = "{interval}"\ndeadline = "{deadline}"\nmax_server_share = {share}\n{more}')
        self._password = conninfo_to_dict(dsn or "").get("password")
        written, stderr = os.pipe()
        with ExitStack() as files:
            self._printed = files.enter_context(tempfile.TemporaryFile())
            self._stderr = files.enter_context(os.fdopen(written, "rb"))
            with Path(os.devnull).open("rb") as stdin, os.fdopen(stderr, "wb"):
                self._process = start_pgdoctor(
                    ["agent", "--listen", "127.0.0.1:0", "--config", config, *arguments],
                    os.environ | ({"PGDOCTOR_DSN": dsn} if dsn else {}),
                    (stdin.fileno(), self._printed.fileno(), stderr),
                    forked=forked,
                )
            # The reader and the end close them from here on.
            files.pop_all()
        self.pid = self._process.pid
        #: What it has written to stderr, line by line.
        self.said: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        try:
            wait_until(lambda: self.said or not self.running, _PATIENCE, "a first line")
            listening = self.lines[0]
            assert listening["event"] == "listening", self.said
        except BaseException:
            self._stop()
            raise
        self.port: int = listening["port"]
        self._client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=prompt)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()
        printed = self._stop()
        output = "\n".join(self.said) + printed
        assert not self._password or self._password not in output
        assert "Traceback" not in output

    def _stop(self) -> str:
        """Make an end of it; what it has written to stdout."""
        self._process.kill()
        self._process.wait()
        self._reader.join()
        with self._printed as printed:
            printed.seek(0)
            return printed.read().decode()

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    @property
    def lines(self) -> list[dict[str, Any]]:
        """What it has logged so far."""
        return [json.loads(line) for line in self.said]

    def configure(self, text: str) -> None:
        self.config.write_text(text)

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def end(self, number: signal.Signals = signal.SIGTERM) -> tuple[float, int]:
        """Ask it to end; return how long that took, and its exit status."""
        began = time.monotonic()
        self.send(number)
        status = self._process.wait(_PATIENCE)
        return time.monotonic() - began, status

    def get(self, path: str, **headers: str | bytes) -> httpx.Response:
        return self.ask("GET", path, **headers)

    def ask(self, method: str, path: str, **headers: str | bytes) -> httpx.Response:
        answer = self._client.request(method, path, headers=headers)
        assert not self._password or self._password not in answer.text
        return answer

    def metrics(self) -> dict[str, float]:
        """Every series with its value."""
        return series(self.get("/metrics").text)

    def metric(self, name: str) -> float:
        return self.metrics()[f"pgdoctor_{name}"]

    def wait_for(self, name: str, value: float, timeout: float = _PATIENCE) -> None:
        """Until a metric has a value."""
        wait_until(lambda: self.metric(name) == value, timeout, f"{name} = {value:g}")

    def polls_until(self, name: str, value: float, timeout: float = _PATIENCE) -> None:
        """Until a poll that began after this call finds it so: what was so before does not count."""
        since = time.time()

        def found() -> bool:
            now = self.metrics()
            return now["pgdoctor_last_poll_timestamp_seconds"] > since and now[f"pgdoctor_{name}"] == value

        wait_until(found, timeout, f"a new poll with {name} = {value:g}")

    def wait_for_polls(self, number: int) -> dict[str, float]:
        """Until so many more polls are over than now; the series of that moment."""
        wanted = self.metric("poll_duration_seconds_count") + number
        return wait_until(
            lambda: (now := self.metrics())["pgdoctor_poll_duration_seconds_count"] >= wanted and now, _PATIENCE
        )

    def wait_for_lines(self, event: str, number: int = 1) -> list[dict[str, Any]]:
        """Until it has logged an event so often; all its lines. They come a moment after what they speak of."""
        wait_until(lambda: sum(line["event"] == event for line in self.lines) >= number, _PATIENCE, event)
        return self.lines

    def _read(self) -> None:
        with self._stderr as stderr:
            for line in stderr:
                self.said.append(line.decode().rstrip("\n"))


def series(text: str) -> dict[str, float]:
    """A page of metrics as values by name and labels."""
    samples = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in samples}


def processes(root: int) -> list[int]:
    """A process and its children."""
    listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True)
    pairs = [tuple(map(int, line.split())) for line in listed.stdout.splitlines()]
    return [root, *(pid for pid, parent in pairs if parent == root)]
