"""`pgdoctor` in a process of its own that starts in milliseconds, since it is forked from one that has imported it.

`python -m pgdoctor` takes half a second of a core to start, and the tests need hundreds of starts. What starts as
users start it are the command lines of README and manual, and the tests of the start itself.
"""

import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import Any

from tests import forked_child

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload([forked_child.__name__])

#: The interpreter reads these variables before any code runs, so that a fork does not heed them.
_READ_AT_START = ("PYTHON", "LC_", "LANG", "LOCPATH")
_STARTED_WITH = dict(os.environ) | {"LC_ALL": "C.UTF-8"}

Streams = tuple[int, int, int]


class Forked:
    """A running `pgdoctor`; what it has is called, and does, as in `subprocess.Popen`."""

    def __init__(
        self, arguments: Sequence[str], environment: Mapping[str, str], streams: Streams, terminal: bool | None
    ) -> None:
        # `--quick` leaves out the tests in which this event is seen.
        sys.audit("subprocess.Popen", "pgdoctor", arguments, None, environment)
        self._process = _CONTEXT.Process(
            target=forked_child.run,
            args=(arguments, environment, str(Path.cwd()), tuple(map(_Inherited, streams)), terminal),
            daemon=True,
        )
        self._process.start()
        self.pid: int = self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """Return the exit status, or None while it runs."""
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end and return the exit status. Raises `subprocess.TimeoutExpired`."""
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired("pgdoctor", timeout or 0.0)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)


class _Inherited:
    """A descriptor of this process, which arrives in the child as the number that it has there."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __reduce__(self) -> tuple[Any, ...]:
        return _detach, (DupFd(self._descriptor),)


def _is_read_at_start(variable: tuple[str, str]) -> bool:
    """Would a new interpreter go another way than the one that is forked, because of this variable?"""
    name, text = variable
    return name.startswith(_READ_AT_START) and _STARTED_WITH.get(name) != text


def _detach(duplicate: Any) -> int:
    return duplicate.detach()


def start_pgdoctor(
    arguments: Sequence[str | Path],
    environment: Mapping[str, str],
    streams: Streams,
    *,
    terminal: bool | None = None,
    forked: bool = True,
) -> Forked | subprocess.Popen[bytes]:
    """Start it with the descriptors in `streams` as its stdin, stdout and stderr, and return at once.

    Unless `terminal` is None, it leads a session of its own; if true, its stdin is the terminal that controls it.
    Without `forked` it is a new interpreter, which has imported only what it needs.
    """
    typed = [str(argument) for argument in arguments]
    if forked and not any(map(_is_read_at_start, environment.items())):
        return Forked(typed, environment, streams, terminal)
    stdin, stdout, stderr = streams
    return subprocess.Popen(
        [sys.executable, "-m", "pgdoctor", *typed],
        env=environment,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        start_new_session=terminal is not None,
        preexec_fn=forked_child.take_terminal if terminal else None,
    )


def pgdoctor(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command line as a person does, `environment` added; nothing can be read from its stdin."""
    with Path(os.devnull).open("rb") as stdin, tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        streams = stdin.fileno(), stdout.fileno(), stderr.fileno()
        running = start_pgdoctor(arguments, {**os.environ, **environment}, streams)
        try:
            status = running.wait(50)
        finally:
            running.kill()
            running.wait()
        stdout.seek(0)
        stderr.seek(0)
        return subprocess.CompletedProcess(arguments, status, stdout.read().decode(), stderr.read().decode())
