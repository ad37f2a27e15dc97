"""The marker by which a session asks to be left alone."""

import re

#: In application_name, or in a comment in front of a statement, it protects a session.
MARKER = "pgdoctor:protect"

_BLANKS = re.compile(r"[ \t\n\r\f\v]*+")
_LINE_END = re.compile(r"[\r\n]")
_EDGE = re.compile(r"/\*|\*/")


def leading_comments(statement: str) -> str:
    """The comments in front of the first word of a statement; block comments nest, as the server reads them.

    Of a text that ends, or was cut, within a comment: all of it. Costs time in proportion to the length.
    """
    end = 0
    while True:
        begin = _BLANKS.match(statement, end).end()  # type: ignore[union-attr]
        if statement.startswith("--", begin):
            found = _LINE_END.search(statement, begin)
            end = found.end() if found else len(statement)
        elif statement.startswith("/*", begin):
            end = _end_of_block(statement, begin)
        else:
            return statement[:end]


def _end_of_block(statement: str, begin: int) -> int:
    depth = 0
    for edge in _EDGE.finditer(statement, begin):
        depth += 1 if edge.group() == "/*" else -1
        if depth == 0:
            return edge.end()
    return len(statement)
