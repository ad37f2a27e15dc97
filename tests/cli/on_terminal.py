"""The command line with a terminal of so many columns for its output."""

import os
import pty
import struct
import tempfile
from fcntl import ioctl
from pathlib import Path
from termios import TIOCSWINSZ

from tests.forked import start_pgdoctor


def on_terminal(*arguments: str, columns: int, lines: int = 24, encoding: str = "utf-8", **environment: str) -> str:
    """What the command writes to it; `environment` comes over this process's. The command has to succeed."""
    ours, theirs = pty.openpty()
    ioctl(theirs, TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    inherited = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "LINES", "NO_COLOR")}
    with Path(os.devnull).open("rb") as stdin, tempfile.TemporaryFile() as stderr:
        child = start_pgdoctor(
            arguments,
            {**inherited, "TERM": "xterm-256color", **environment},
            (stdin.fileno(), theirs, stderr.fileno()),
        )
        os.close(theirs)
        written = _read_to_the_end(ours)
        os.close(ours)
        status = child.wait(30)
        stderr.seek(0)
        assert status == 0, stderr.read()
    return written.decode(encoding).replace("\r\n", "\n")


def _read_to_the_end(terminal: int) -> bytes:
    written = b""
    while True:
        try:
            some = os.read(terminal, 65_536)
        except OSError:  # Its end, on Linux.
            return written
        if not some:
            return written
        written += some
