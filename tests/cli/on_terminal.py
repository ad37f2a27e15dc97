"""The command line with a terminal of so many columns for its output."""

import os
import pty
import struct
import subprocess
import sys
from fcntl import ioctl
from termios import TIOCSWINSZ


def on_terminal(*arguments: str, columns: int, lines: int = 24, encoding: str = "utf-8", **environment: str) -> str:
    """What the command writes to it; `environment` comes over this process's. The command has to succeed."""
    ours, theirs = pty.openpty()
    ioctl(theirs, TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    inherited = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "LINES", "NO_COLOR")}
    child = subprocess.Popen(
        [sys.executable, "-m", "pgdoctor", *arguments],
        stdout=theirs,
        stderr=subprocess.PIPE,
        env={**inherited, "TERM": "xterm-256color", **environment},
    )
    os.close(theirs)
    written = b""
    while True:
        try:
            some = os.read(ours, 65_536)
        except OSError:  # Its end, on Linux.
            break
        if not some:
            break
        written += some
    os.close(ours)
    _, complaint = child.communicate(timeout=30)
    assert child.returncode == 0, complaint
    return written.decode(encoding).replace("\r\n", "\n")
