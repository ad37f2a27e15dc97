"""SQL to paste in lines that mean the same as the one line they were."""

import re
from collections.abc import Iterator

from pgdoctor.render.live.cells import text_width

_TOKEN = re.compile(r"(?:E?'(?:[^'\\]|''|\\.)*'|[^ '])+")
_LITERAL = re.compile(r"(?P<before>.*?)(?P<open>E?')(?P<text>(?:[^'\\]|''|\\.)*)'(?P<after>.*)", re.DOTALL)

#: What of a string constant is not to be taken apart.
_UNIT = re.compile(r"''|\\u[0-9a-f]{4}|\\U[0-9a-f]{8}|\\.|.", re.DOTALL)


def wrap_sql(text: str, columns: int) -> list[str]:
    """A statement in lines that mean the same when they are pasted; none is wider than `columns` cells (20 at least).

    It is broken at spaces outside of string constants. Of a constant that is too long the server joins the parts,
    since they stand in two lines.
    """
    lines, line = list[str](), ""
    for token in _TOKEN.findall(text):
        for part in _split_token(token, columns):
            if line and text_width(line) + 1 + text_width(part) > columns:
                lines.append(line)
                line = part
            else:
                line = f"{line} {part}" if line else part
            if part is not token and part.endswith("'"):
                lines.append(line)
                line = ""
    return [*lines, line] if line else lines


def _split_token(token: str, columns: int) -> Iterator[str]:
    found = _LITERAL.fullmatch(token)
    if text_width(token) <= columns or found is None:
        yield token
        return
    part, room = found["before"] + found["open"], columns - 1 - text_width(found["after"])
    for unit in _UNIT.findall(found["text"]):
        if text_width(part) + text_width(unit) > room:
            yield f"{part}'"
            part = "'"
        part += unit
    yield f"{part}'{found['after']}"
