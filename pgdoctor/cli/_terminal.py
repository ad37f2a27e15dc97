"""A terminal that is drawn on as a whole, and gives back what was on it before, however it ends."""

import curses
import locale
import os
import select
from collections.abc import Iterator, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self

from pgdoctor.cli._keys import decode_keys
from pgdoctor.render.live.cells import Line, character_cells

_COLOURS = {"bad": curses.COLOR_RED, "warn": curses.COLOR_YELLOW, "good": curses.COLOR_GREEN}

_COLUMNS, _LINES = 80, 24

#: Milliseconds after which an escape is the key, and not the beginning of another one.
_ESCAPE_MS = 50


def can_draw() -> bool:
    """Whether there is a terminal on both sides, and one on which a place can be chosen to write at."""
    if not (os.isatty(0) and os.isatty(1)):
        return False
    try:
        curses.setupterm()
    except curses.error:
        return False
    return curses.tigetstr("cup") is not None


def write_encodable(text: str, encoding: str) -> str:
    """A text with as many ? in place of each character that the encoding lacks as it takes cells."""
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return "".join(_replace_unencodable(character, encoding) for character in text)
    return text


def _replace_unencodable(character: str, encoding: str) -> str:
    known = character.encode(encoding, errors="ignore")
    return character if known else "?" * character_cells(character)


def _set_locale() -> None:
    """The locale of the environment. One that this machine does not have, as after ssh, still names its encoding."""
    try:
        locale.setlocale(locale.LC_ALL, "")
    except locale.Error:
        wanted = next(filter(None, map(os.environ.get, ("LC_ALL", "LC_CTYPE", "LANG"))), "")
        if "utf" in wanted.lower():
            with suppress(locale.Error):
                locale.setlocale(locale.LC_CTYPE, "C.UTF-8")


class Terminal:
    """The terminal from `with` on to its end."""

    def __enter__(self) -> Self:
        _set_locale()
        curses.set_escdelay(_ESCAPE_MS)
        self._window = curses.initscr()
        try:
            # Some shells export COLUMNS and LINES as they once were, and curses believes them.
            self.resize()
            self._prepare_colours()
        except BaseException:
            curses.endwin()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Where there is no terminal any more nothing can be given back, and the other steps fail as well.
        with suppress(curses.error):
            self._window.keypad(False)
            curses.nocbreak()
            curses.echo()
            curses.endwin()

    @property
    def is_gone(self) -> bool:
        """Its other end (a window, a connection) is closed."""
        poll = select.poll()
        poll.register(0, select.POLLIN)
        return any(found & (select.POLLHUP | select.POLLERR | select.POLLNVAL) for _, found in poll.poll(0))

    @property
    def size(self) -> tuple[int, int]:
        """Columns and lines."""
        lines, columns = self._window.getmaxyx()
        return columns, lines

    def resize(self) -> None:
        """Take the size that the terminal has by now."""
        columns, lines = os.get_terminal_size()
        # Some are of no size at all: a pseudo-terminal whose size was never set.
        curses.resizeterm(lines or _LINES, columns or _COLUMNS)
        # The content of the screen after that is not known.
        self._window.clearok(True)

    def draw(self, lines: Sequence[Line]) -> None:
        """Show these lines, and nothing else."""
        self._window.erase()
        for place, line in enumerate(lines[: self.size[1]]):
            self._window.move(place, 0)
            for span in line:
                self._write_text(span.text, self._looks[span.style])
        self._window.refresh()

    def read_keys(self) -> Iterator[str]:
        """The keys typed since the last call: characters, and the names of other keys. Follows a new size."""
        for key in decode_keys(self._read_keys()):
            if key == "redraw":
                self.resize()
            else:
                yield key

    def _read_keys(self) -> Iterator[int | str]:
        with suppress(curses.error):  # There is no more.
            while True:
                yield self._window.get_wch()

    def _prepare_colours(self) -> None:
        curses.noecho()
        curses.cbreak()
        self._window.keypad(True)
        self._window.nodelay(True)
        self._encoding = self._window.encoding
        with suppress(curses.error):  # Some terminals cannot hide it.
            curses.curs_set(0)
        self._looks = {
            "plain": curses.A_NORMAL,
            "dim": curses.A_DIM,
            "bold": curses.A_BOLD,
            "bad": curses.A_BOLD,
            "warn": curses.A_BOLD,
            "good": curses.A_NORMAL,
            "chosen": curses.A_REVERSE,
            "bar": curses.A_REVERSE,
        }
        if not os.environ.get("NO_COLOR") and self._has_colours():
            for number, (style, colour) in enumerate(_COLOURS.items(), start=1):
                curses.init_pair(number, colour, -1)
                self._looks[style] |= curses.color_pair(number)

    @staticmethod
    def _has_colours() -> bool:
        try:
            curses.start_color()
            curses.use_default_colors()
        except curses.error:
            return False
        return bool(curses.has_colors())

    def _write_text(self, text: str, look: int) -> None:
        shown = write_encodable(text, self._encoding)
        with suppress(curses.error):  # After the last cell of the last line the cursor has nowhere to go.
            self._window.addstr(shown, look)
