"""Text in the cells of a terminal: East Asian letters take two, accents none."""

import unicodedata
from textwrap import wrap as wrap_words
from typing import NamedTuple

from pgdoctor.render.plain import one_line

#: Characters of a text that are looked at; no screen is wider.
_MOST = 2_000


class Span(NamedTuple):
    """A piece of a line; `style` is one of STYLES."""

    text: str
    style: str = "plain"


#: What a piece of text can look like.
STYLES = ("plain", "dim", "bold", "bad", "warn", "good", "chosen", "bar")

Line = tuple[Span, ...]


def cells(character: str) -> int:
    """How many a printable character takes."""
    if unicodedata.combining(character) or unicodedata.category(character) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in ("W", "F") else 1


def width(text: str) -> int:
    """How many cells a text takes."""
    return len(text) if text.isascii() else sum(map(cells, text))


def cut(text: str, most: int) -> str:
    """One harmless line of at most so many cells."""
    clean = one_line(text, _MOST)
    if width(clean) <= most:
        return clean
    taken, room = list[str](), most - 1
    for character in clean:
        room -= cells(character)
        if room < 0:
            break
        taken.append(character)
    return "".join(taken) + "…" if most > 0 else ""


def padded(text: str, columns: int, *, right: bool = False) -> str:
    """One harmless line of exactly so many cells."""
    short = cut(text, columns)
    room = " " * (columns - width(short))
    return room + short if right else short + room


def wrapped(text: str, columns: int) -> list[str]:
    """A text in lines of at most so many cells."""
    clean = one_line(text, _MOST)
    # Broken by characters, of which some may take two cells.
    characters = columns if width(clean) <= len(clean) else columns // 2
    return wrap_words(clean, max(characters, 10)) or [""]


def fitted(spans: Line, columns: int) -> Line:
    """A line cut to so many cells."""
    found, room = list[Span](), columns
    for span in spans:
        short = cut(span.text, room)
        room -= width(short)
        found.append(Span(short, span.style))
        if room <= 0:
            break
    return tuple(found)
