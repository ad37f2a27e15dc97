"""The incident's process, from outside: start it, hear what it does, end it."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pgdoctor.demo import demo_incident as staging
from pgdoctor.errors import PgdoctorError


@contextmanager
def stage_incident(dsn: str, say: Callable[[str], None], *, stay: bool = False) -> Iterator[None]:
    """A staged incident for the length of the block; with `stay` it outlives the block, and this process.

    `say` gets a line for each step. Raises PgdoctorError where the incident could not be staged.
    """
    process = subprocess.Popen(
        # By its file, and -P: files of the current folder must not replace it.
        [sys.executable, "-P", staging.__file__, *(["--stay"] if stay else [])],
        env={**os.environ, "PGDOCTOR_DSN": dsn},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    try:
        _read_progress(process, say)
        yield
    except BaseException:
        stay = False
        raise
    finally:
        if not stay:
            process.kill()
            process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


def _read_progress(process: subprocess.Popen[str], say: Callable[[str], None]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip() == staging.STAGED:
            return
        say(line.strip())
    raise PgdoctorError("the demo's incident could not be staged")
