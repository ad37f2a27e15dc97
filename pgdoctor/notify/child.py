"""A process of its own for what may hang, grow or fail: Apprise, and templates.

It gets no environment but what Python needs: the connections and passwords of the agent are not in it. What it loads
takes no memory of the agent, and it is killed when its time is over.
"""

import asyncio
import os
import sys
from typing import TypeVar

import msgspec

from pgdoctor.escape import encode_json

#: Seconds for its start; a machine may be busy.
_STARTING = 60.0

#: Bytes of its answer.
_MOST_ANSWER = 2 * 1024 * 1024

#: Variables of the agent that it gets.
_ENVIRONMENT = ("PATH", "LANG", "LC_ALL", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR")

#: What it says once it is ready for its task.
READY = b"ready\n"

T = TypeVar("T")


class ChildFailed(Exception):
    """It ended without an answer, or was ended."""


async def run_child(module: str, task: msgspec.Struct, kind: type[T], seconds: float) -> T:
    """What a module of `pgdoctor.notify.children` answers, within so many seconds from the end of its start.

    Raises ChildFailed.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", f"pgdoctor.notify.children.{module}"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=_make_environment(),
        limit=_MOST_ANSWER,
        start_new_session=True,
    )
    try:
        return msgspec.json.decode(await _ask_child(process, encode_json(task), seconds), type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, OSError, ValueError):
        raise ChildFailed("its process ended without an answer") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _ask_child(process: asyncio.subprocess.Process, task: bytes, seconds: float) -> bytes:
    """One line each way. Raises ChildFailed, OSError, and ValueError for a line that is too long."""
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        async with asyncio.timeout(_STARTING):
            if await process.stdout.readline() != READY:
                raise ChildFailed("its process did not start")
    except TimeoutError:
        raise ChildFailed(f"its process did not start within {_STARTING:g} s") from None
    try:
        async with asyncio.timeout(seconds):
            process.stdin.write(task + b"\n")
            await process.stdin.drain()
            process.stdin.close()
            return await process.stdout.readline()
    except TimeoutError:
        raise ChildFailed(f"not done within {seconds:g} s") from None


def _make_environment() -> dict[str, str]:
    given = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    path = os.pathsep.join(folder for folder in sys.path if folder)
    return given | {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", "HOME": "/nonexistent"}
