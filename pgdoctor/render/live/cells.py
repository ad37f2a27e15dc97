"""Text in the cells of a terminal: East Asian letters take two, accents none."""

import re
import unicodedata
from functools import lru_cache
from typing import NamedTuple

from pgdoctor.render.plain import format_one_line

#: Characters of a text that are examined; no screen is wider.
_MOST = 2_000

#: Cells in which a text may always be laid out.
_NARROWEST = 10

_WORD = re.compile(r" *[^ ]+| +$")


class Span(NamedTuple):
    """A piece of a line; `style` is one of STYLES."""

    text: str
    style: str = "plain"


#: What a piece of text can look like.
STYLES = ("plain", "dim", "bold", "bad", "warn", "good", "chosen", "bar")

Line = tuple[Span, ...]


@lru_cache(4096)
def character_cells(character: str) -> int:
    """How many a printable character takes."""
    if unicodedata.combining(character) or unicodedata.category(character) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in ("W", "F") else 1


def text_width(text: str) -> int:
    """How many cells a text takes."""
    return len(text) if text.isascii() else sum(map(character_cells, text))


def cut_text(text: str, most: int) -> str:
    """One harmless line of at most so many cells."""
    clean = format_one_line(text, _MOST)
    if text_width(clean) <= most:
        return clean
    taken, room = list[str](), most - 1
    for character in clean:
        room -= character_cells(character)
        if room < 0:
            break
        taken.append(character)
    return "".join(taken) + "…" if most > 0 else ""


def pad_text(text: str, columns: int, *, right: bool = False) -> str:
    """One harmless line of exactly so many cells."""
    short = cut_text(text, columns)
    room = " " * (columns - text_width(short))
    return room + short if right else short + room


def wrap_text(text: str, columns: int, most: int = _MOST) -> list[str]:
    """A text of at most so many characters, in lines of at most so many cells (10 at least), broken at spaces."""
    columns, lines, line, width = max(columns, _NARROWEST), list[str](), "", 0
    for word in _WORD.findall(format_one_line(text, most)):
        # The width of the line is carried along: measured again at each word, a wide screen takes quadratic time.
        wide = text_width(word)
        if width + wide <= columns:
            line, width = line + word, width + wide
            continue
        if line:
            lines.append(line.rstrip())
        line = word.lstrip()
        while text_width(line) > columns:
            head = _cut_head(line, columns)
            lines.append(head)
            line = line[len(head) :]
        width = text_width(line)
    return [*lines, line.rstrip()] if line.strip() or not lines else lines


def _cut_head(text: str, columns: int) -> str:
    """As much of a text as fits into so many cells."""
    room = columns
    for place, character in enumerate(text):
        room -= character_cells(character)
        if room < 0:
            return text[:place]
    return text


def fit_line(spans: Line, columns: int) -> Line:
    """A line cut to so many cells."""
    found, room = list[Span](), columns
    for span in spans:
        short = cut_text(span.text, room)
        room -= text_width(short)
        found.append(Span(short, span.style))
        if room <= 0:
            break
    return tuple(found)
