"""Paragraphs laid out for a screen: wrapped, and cut only where they say so; one line each where there is none."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from pgdoctor.render.live.cells import Span, cut_text, text_width, wrap_text
from pgdoctor.render.plain import format_one_line
from pgdoctor.render.wrapped_sql import wrap_sql

#: The narrowest screen that is laid out for.
NARROWEST = 40

#: Columns that are left to the words, whatever stands in front of them.
_LEAST_ROOM = 24

#: Columns that SQL to paste needs, for no word of it to be taken apart.
_LEAST_SQL = 38

#: A statement on what is left of a line takes no fewer columns.
_LEAST_TAIL = 10

#: Characters of a paragraph: a statement of 16 kB, and what is said of it.
_MOST = 20_000


class Paragraph(NamedTuple):
    """Words of ours and of others; `style` is one of `cells.STYLES`."""

    words: str
    style: str = "plain"
    #: What stands in front of its first line, and of the others.
    first: str = ""
    others: str = ""
    #: What may be cut at the end of the last line: the statement of a session that waits.
    tail: str = ""
    #: The words are SQL, which is to mean the same when its lines are copied.
    is_sql: bool = False


def lay_out_paragraphs(paragraphs: Iterable[Paragraph], columns: int | None) -> Iterator[Span]:
    """The lines, none wider than `columns` cells (at least NARROWEST); None: each paragraph is one line, uncut."""
    for paragraph in paragraphs:
        if columns is None:
            words = f"{paragraph.words} {paragraph.tail}" if paragraph.tail else paragraph.words
            yield Span(format_one_line(paragraph.first + words, _MOST), paragraph.style)
        else:
            yield from _wrap_paragraph(paragraph, max(columns, NARROWEST))


def _wrap_paragraph(paragraph: Paragraph, columns: int) -> Iterator[Span]:
    most = columns - (_LEAST_SQL if paragraph.is_sql else _LEAST_ROOM)
    # Of what stands in front the right end says most: the last branch of a tree.
    first, others = (mark[max(len(mark) - most, 0) :] for mark in (paragraph.first, paragraph.others))
    room = columns - max(text_width(first), text_width(others))
    lines = wrap_sql(paragraph.words, room) if paragraph.is_sql else wrap_text(paragraph.words, room, _MOST)
    if paragraph.tail:
        left = room - text_width(lines[-1]) - 1
        if left >= min(_LEAST_TAIL, text_width(paragraph.tail)):
            lines[-1] += f" {cut_text(paragraph.tail, left)}"
        else:
            lines.append(cut_text(paragraph.tail, room))
    for place, line in enumerate(lines):
        yield Span((first if place == 0 else others) + line, paragraph.style)


def strip_styles(lines: Iterable[Span]) -> str:
    """The lines as text, without styles."""
    return "".join(f"{line.text}\n" for line in lines)
