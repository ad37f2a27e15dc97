"""A real terminal with a user at it: a pty whose screen is read with pyte, and whose size changes."""

import fcntl
import os
import pty
import select
import signal
import struct
import termios
import threading
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pyte

from tests.forked import start_pgdoctor
from tests.scenes.client import wait_until

UP, DOWN, LEFT, END, HOME, PAGE_DOWN = "\x1b[A", "\x1b[B", "\x1b[D", "\x1b[F", "\x1b[H", "\x1b[6~"
#: As a terminal sends them after it was notified to (`smkx`).
APPLICATION = {UP: "\x1bOA", DOWN: "\x1bOB", LEFT: "\x1bOD", END: "\x1bOF", HOME: "\x1bOH"}

#: Seconds until something has to show, on a machine that may be busy.
PATIENCE = 40.0


class Screen(pyte.Screen):
    """A screen that scrolls by several lines at once, as xterm does and pyte does not."""

    def scroll_down(self, count: int | None = None) -> None:
        self._at_the_top(self.insert_lines, count)

    def scroll_up(self, count: int | None = None) -> None:
        self._at_the_top(self.delete_lines, count)

    def _at_the_top(self, move: Callable[[int], None], count: int | None) -> None:
        x, y = self.cursor.x, self.cursor.y
        self.cursor.y = self.margins.top if self.margins else 0
        move(count or 1)
        self.cursor.x, self.cursor.y = x, y


class Stream(pyte.ByteStream):
    """What is sent to such a screen."""

    csi = pyte.ByteStream.csi | {"S": "scroll_up", "T": "scroll_down"}
    events = pyte.ByteStream.events | {"scroll_up", "scroll_down"}


class Terminal:
    """`pgdoctor watch`, or another command, in a terminal of its own.

    Without `controls` the system does not tell it of what becomes of that; without `sized` it is of no size.
    """

    def __init__(
        self,
        *arguments: str,
        command: str = "watch",
        columns: int = 120,
        lines: int = 30,
        controls: bool = True,
        sized: bool = True,
        **environment: str,
    ) -> None:
        self._screen = Screen(columns, lines)
        self._stream = Stream(self._screen)
        self._master, slave = pty.openpty()
        if sized:
            self._size(columns, lines)
        #: How the terminal is set, as the next program will find it.
        self.before = termios.tcgetattr(slave)
        self._slave = slave
        self.raw = b""
        self._lock = threading.Lock()
        self._over = threading.Event()
        written, stderr = os.pipe()
        with ExitStack() as files, os.fdopen(stderr, "wb"):
            self._stderr = files.enter_context(os.fdopen(written, "rb"))
            self._process = start_pgdoctor(
                [command, *arguments],
                os.environ | {"TERM": "xterm-256color", "LC_ALL": "C.UTF-8"} | environment,
                (slave, slave, stderr),
                terminal=controls,
            )
            # `close` does it from here on.
            files.pop_all()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def close(self) -> None:
        """End it, if it has not ended, and let go of the terminal."""
        self._process.kill()
        self._process.wait()
        self._stderr.close()
        self._let_go()
        os.close(self._slave)

    def vanish(self) -> int:
        """Take the terminal away, as when a connection is lost; the exit status of what ran in it."""
        self._let_go()
        return self._process.wait(PATIENCE)

    def _let_go(self) -> None:
        if not self._over.is_set():
            self._over.set()
            self._reader.join()
            os.close(self._master)

    @property
    def shown(self) -> list[str]:
        """The lines on the screen."""
        with self._lock:
            return list(self._screen.display)

    @property
    def text(self) -> str:
        return "\n".join(self.shown)

    def style(self, word: str) -> Any:
        """The poll of the first character of a word on the screen."""
        for line, text in enumerate(self.shown):
            if word in text:
                return self._screen.buffer[line][text.index(word)]
        raise AssertionError(f"{word} is not on the screen:\n{self.text}")

    def is_reversed(self, line: int, column: int) -> bool:
        """Whether a cell is dark on light."""
        with self._lock:
            return bool(self._screen.buffer[line][column].reverse)

    def press(self, *keys: str) -> None:
        """Type."""
        self.send_bytes("".join(APPLICATION.get(key, key) for key in keys))

    def send_bytes(self, text: str) -> None:
        """Send it as it is."""
        os.write(self._master, text.encode())

    def resize(self, columns: int, lines: int) -> None:
        """As by the hand at a window's corner."""
        with self._lock:
            self._screen.resize(lines, columns)
        self._size(columns, lines)

    def until(self, *words: str) -> None:
        """Until all of them are on the screen."""
        self.until_so(lambda: all(word in self.text for word in words), repr(words))

    def until_gone(self, word: str) -> None:
        """Until it is not on the screen any more."""
        self.until_so(lambda: word not in self.text, f"no {word}")

    def until_so(self, condition: Callable[[], Any], what: str = "") -> None:
        """Until the condition holds."""
        try:
            wait_until(condition, PATIENCE, what)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.text}\n{'still there' if self.running else self.said}") from None

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    @property
    def said(self) -> str:
        """What it has said on stderr, which ends with it."""
        return self._stderr.read().decode()

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def end(self) -> int:
        """Its exit status, once it has ended; the terminal has to be as it was before."""
        status = self._process.wait(PATIENCE)
        assert termios.tcgetattr(self._slave) == self.before
        # What it wrote last may be read only after its end.
        self.until_so(self._is_back, "the screen from before, with a cursor")
        return status

    def _is_back(self) -> bool:
        screen = self.raw.rfind(b"\x1b[?1049l") > self.raw.rfind(b"\x1b[?1049h")
        return screen and self.raw.rfind(b"\x1b[?25h") > self.raw.rfind(b"\x1b[?25l")

    def _size(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def _read(self) -> None:
        while not self._over.is_set():
            if not select.select([self._master], [], [], 0.05)[0]:
                continue
            try:
                data = os.read(self._master, 65_536)
            except OSError:
                return
            with self._lock:
                self.raw += data
                self._stream.feed(data)
