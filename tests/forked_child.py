"""What runs in the process that `tests.forked` starts. To import this imports all that a command may need."""

import fcntl
import importlib
import os
import pkgutil
import sys
import termios
import time
from collections.abc import Mapping, Sequence
from typing import NoReturn

from pgdoctor import cli

_COMMANDS = [f"{cli.__name__}.{module.name}" for module in pkgutil.iter_modules(cli.__path__)]

#: What the commands import only when they need it.
_IMPORTED_LATER = (
    "httpcore",
    "pgdoctor.agent.process",
    "psycopg_pool",
    "re2",
    "sqlglot.dialects.postgres",
    "starlette.applications",
    "tabulate",
    "tenacity",
    "uvicorn",
)

for _name in (*_COMMANDS, *_IMPORTED_LATER):
    importlib.import_module(_name)


def run(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    folder: str,
    streams: tuple[int, int, int],
    terminal: bool | None,
) -> NoReturn:
    """Be `pgdoctor` with these arguments, as a new process would be; see `tests.forked.start_pgdoctor`."""
    for number, descriptor in enumerate(streams):
        os.dup2(descriptor, number)
        os.close(descriptor)
    if terminal is not None:
        os.setsid()
    if terminal:
        take_terminal()
    # Those of the process that is forked know whether its files could seek, not whether these can.
    sys.stdin = os.fdopen(0, closefd=False)
    sys.stdout = os.fdopen(1, "w", encoding=sys.stdout.encoding, errors=sys.stdout.errors, closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, encoding=sys.stderr.encoding, errors=sys.stderr.errors, closefd=False)
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    os.chdir(folder)
    cli.main(arguments)


def take_terminal() -> None:
    """Make the terminal on stdin the one that controls this session."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
