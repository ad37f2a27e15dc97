"""Text of others in Markdown: it reads well as it is, and shows as it is wherever it is rendered."""

import re

from pgdoctor.render.plain import format_one_line

#: Characters of a name, a sentence or a statement.
_MOST = 20_000

#: What would be markup anywhere in a line, and what at its beginning. An underscore within a word is none.
_MARKUP = re.compile(r"[\\`*\[\]<>|]|(?<![^\W_])_|_(?![^\W_])|~(?=~)|&(?=#?\w+;)")
_AT_THE_BEGINNING = re.compile(r"(?:[#+=-]|\d+[.)])(?=\s|$)|#")


def escape_markdown(text: str) -> str:
    """A sentence that Markdown shows as it is."""
    shown = _MARKUP.sub(lambda found: "\\" + found[0], format_one_line(text, _MOST))
    if begin := _AT_THE_BEGINNING.match(shown):
        # A backslash stands in front of the mark that makes a heading or a list of the line.
        mark = begin.end() - 1
        return f"{shown[:mark]}\\{shown[mark:]}"
    return shown


def format_code(text: str | None) -> str:
    """A name or a statement as a code span, also within a table."""
    clean = format_one_line(text or "?", _MOST)
    if r"\|" in clean or clean.isspace():
        # A table would end at the bar, whatever stands around it.
        return escape_markdown(clean)
    fence = "`" * (max(map(len, re.findall("`+", clean)), default=0) + 1)
    edge = " " if clean.startswith("`") or clean.endswith("`") else ""
    return fence + edge + clean.replace("|", r"\|") + edge + fence
