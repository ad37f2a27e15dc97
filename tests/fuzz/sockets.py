"""Raw bytes to a running agent, and the CPU time that it spends on them."""

import os
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.agent.conftest import NOBODY
from tests.agent.running import RunningAgent
from tests.fuzz.trial import TRACE, Trial

#: Seconds for an answer, however busy the machine is; an agent that hangs never answers.
_PATIENCE = 20.0

TOKEN = "token-of-the-fuzzing"


@contextmanager
def agent() -> Iterator[RunningAgent]:
    """An agent whose server does not exist and which is not about to look for it."""
    # The tests' settings are not those of the developer; a journal of its own is.
    with tempfile.TemporaryDirectory() as folder:
        token = Path(folder, "token")
        token.write_text(TOKEN)
        token.chmod(0o600)
        os.environ.setdefault("XDG_STATE_HOME", folder)
        more = f'[webhook]\ntoken_file = "{token}"\n'
        file = Path(folder, "pgdoctor.toml")
        with RunningAgent(NOBODY, file, interval="10m", more=more, prompt=_PATIENCE) as running:
            yield running


def cpu_seconds(running: RunningAgent) -> float:
    """What the agent's process has used so far, all threads together (clock_getcpuclockid, which Python lacks)."""
    return time.clock_gettime((~running.pid << 3) | 2)


def exchanged(running: RunningAgent, raw: bytes) -> bytes:
    """What comes back for these bytes, until the other side closes. Raises TimeoutError where it never does."""
    with socket.create_connection(("127.0.0.1", running.port), timeout=_PATIENCE) as client:
        # It may have closed before all was sent; shutdown says so with a plain OSError.
        with suppress(OSError):
            client.sendall(raw)
            client.shutdown(socket.SHUT_WR)
        answer = b""
        with suppress(ConnectionError):
            while part := client.recv(65_536):
                answer += part
        return answer


def check_alive(trial: Trial, running: RunningAgent) -> None:
    """It runs, answers, and has written no traceback and nothing of a planted value."""
    if not running.running or running.get("/health").status_code != 200:
        trial.fail("afterwards", "the agent does not answer /health")
    said = "\n".join(running.said)
    if "Traceback" in said:
        trial.fail("afterwards", f"a traceback: {said[said.index('Traceback') :][:500]}")
    trial.check_output("log", said)
    if TRACE in said:
        trial.fail("log", "shows the planted value")
