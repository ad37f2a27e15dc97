"""What was typed, as keys: characters, and the names of the others. Pure.

A terminal says an arrow in one of two ways, and curses knows the one of its description alone; others (a mouse, a
paste) begin like arrows. None of their bytes may be taken for a key of its own, which could be an answer.
"""

import curses
from collections.abc import Iterable, Iterator

#: A key that has no meaning here, and yet is one.
OTHER = "other"

_KEYS = {
    curses.KEY_UP: "up",
    curses.KEY_DOWN: "down",
    curses.KEY_LEFT: "left",
    curses.KEY_RIGHT: "right",
    curses.KEY_PPAGE: "pageup",
    curses.KEY_NPAGE: "pagedown",
    curses.KEY_HOME: "home",
    curses.KEY_END: "end",
    curses.KEY_ENTER: "enter",
    curses.KEY_BACKSPACE: "backspace",
}
_CHARACTERS = {
    "\t": "tab",
    "\x7f": "backspace",
    "\b": "backspace",
    "\n": "enter",
    "\r": "enter",
    "\x1b": "escape",
    "\x03": "q",
    "\x0c": "redraw",
}

#: What follows an escape.
_SEQUENCES = {
    "A": "up",
    "B": "down",
    "C": "right",
    "D": "left",
    "H": "home",
    "F": "end",
    "5~": "pageup",
    "6~": "pagedown",
    "1~": "home",
    "7~": "home",
    "4~": "end",
    "8~": "end",
}

#: The old report of a mouse has three bytes behind its end.
_MOUSE, _MOUSE_BYTES = "M", 3


def decode_keys(typed: Iterable[int | str]) -> Iterator[str]:
    """The keys in what curses read at once: characters, and numbers for the keys that it knows."""
    waiting = list(typed)
    while waiting:
        first = waiting.pop(0)
        if isinstance(first, int):
            # Not a key, but what curses says of a new size.
            if first != curses.KEY_RESIZE:
                yield _KEYS.get(first, OTHER)
        elif first == "\x1b" and waiting[:1] in (["["], ["O"]):
            yield _read_sequence(waiting)
        else:
            yield _CHARACTERS.get(first, first)


def _read_sequence(waiting: list[int | str]) -> str:
    """Take a sequence off the front, of which the escape is gone, and name it."""
    introducer, said = waiting.pop(0), ""
    while waiting and isinstance(waiting[0], str):
        said += str(waiting.pop(0))
        if introducer == "O" or "@" <= said[-1] <= "~":
            break
    if introducer == "[" and said == _MOUSE:
        del waiting[:_MOUSE_BYTES]
    return _SEQUENCES.get(said, OTHER)
