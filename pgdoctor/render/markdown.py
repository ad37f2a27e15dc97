"""A page of the manual, written in Markdown, laid out for a terminal.

The manual has one paragraph, list item or table row a line. Of Markdown it uses headings, lists, tables, fenced code
and links.
"""

import re
import textwrap
from collections.abc import Iterator

_COMMENT = re.compile(r"^<!--.*-->\n", re.MULTILINE)
_TABLE_HEAD = re.compile(r"^\|.*\|\n\|[-| ]+\|\n", re.MULTILINE)
_HEADING = re.compile(r"(#+) (.*)")
_ITEM = re.compile(r"- |[0-9]+\. ")
_CELLS = re.compile(r"(?<!\\)\|")
_PAGE = re.compile(r"\[[^]]+\]\((\w+)\.md\)")
_LINK = re.compile(r"\[([^]]+)\]\(([^)]+)\)")

_INDENT = "    "


def read_introduction(page: str) -> str:
    """The paragraph below the title of a page."""
    return page.split("\n\n", 2)[1]


def lay_out_markdown(page: str, width: int) -> str:
    """The page in lines of at most `width` characters (at least 40); lines of code are kept as they are."""
    lines: list[str] = []
    is_code = False
    for line in _TABLE_HEAD.sub("", _COMMENT.sub("", page)).splitlines():
        if line.startswith("```"):
            is_code = not is_code
        else:
            lines += [_INDENT + line] if is_code else _lay_out_line(line, max(width, 40))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines))


def _lay_out_line(line: str, width: int) -> Iterator[str]:
    text = _LINK.sub(r"\1 (\2)", _PAGE.sub(r"`pgdoctor explain \1`", line))
    if heading := _HEADING.fullmatch(text):
        yield heading[2]
        yield ("=" if heading[1] == "#" else "-") * len(heading[2])
    elif text.startswith("|"):
        name, *others = (cell.strip().replace(r"\|", "|") for cell in _CELLS.split(text)[1:-1])
        yield _fill_text(f"{name}: {'; '.join(others)}", width, "  ", "      ")
    else:
        item = _ITEM.match(text)
        yield _fill_text(text, width, "", " " * len(item[0]) if item else "")


def _fill_text(text: str, width: int, first: str, others: str) -> str:
    return textwrap.fill(
        text, width, initial_indent=first, subsequent_indent=others, break_on_hyphens=False, break_long_words=False
    )
