"""The pages of `pgdoctor explain`: docstrings, and the comments above alerts, laid out for people."""

import re
import textwrap
from collections.abc import Iterable, Iterator

#: What the parts of a cause's docstring begin with, in the order they are written.
PARTS = ("Recognised by", "Do", "Do not", "Prevent", "Source")

_PART = re.compile(rf"^({'|'.join(PARTS)}): ", re.MULTILINE)

_ALERT = re.compile(r"((?:^ *#.*\n)+) *- alert: (\w+)$", re.MULTILINE)
_COMMENT = re.compile(r"^ *# ?", re.MULTILINE)

_INDENT = "    "


def read_parts(doc: str) -> dict[str, str]:
    """What it is, under the empty name, and the parts of a cause's docstring by their names, each one paragraph."""
    first, _, below = doc.partition("\n")
    about, *rest = _PART.split(f"{first}\n{textwrap.dedent(below)}")
    found = {"": about.strip()}
    for name, text in zip(rest[::2], rest[1::2], strict=True):
        found[name] = " ".join(text.split())
    return found


def read_alerts(rules: str) -> dict[str, str]:
    """The comment above each alert of a file of Prometheus rules, by the alert's name."""
    return {name: _COMMENT.sub("", comment) for comment, name in _ALERT.findall(rules)}


def render_manual_page(title: str, doc: str, width: int) -> str:
    """A page: the title, what it is, and each part under its name; no line longer than `width` characters."""
    return "\n".join(_format_entries(title, read_parts(doc), max(width, 40)))


def render_index(heading: str, entries: Iterable[tuple[str, str]], width: int) -> str:
    """Names, each with the first sentence of its docstring."""
    rows = [(name, first_sentence(doc)) for name, doc in entries]
    column = max((len(name) for name, _ in rows), default=0) + 2
    lines = [
        textwrap.fill(
            f"{name:<{column}}{text}",
            max(width, 40),
            initial_indent="  ",
            subsequent_indent=" " * (column + 2),
            break_on_hyphens=False,
        )
        for name, text in rows
    ]
    return "\n".join([heading, *lines])


def first_sentence(doc: str) -> str:
    """What a docstring begins with, up to the first full stop."""
    about = " ".join(read_parts(doc)[""].split())
    return re.split(r"(?<=[a-z)`])\. ", about, maxsplit=1)[0].removesuffix(".")


def _format_entries(title: str, found: dict[str, str], width: int) -> Iterator[str]:
    yield title
    yield "=" * len(title)
    for name, text in found.items():
        yield ""
        if name:
            yield name
        for paragraph in re.split(r"\n\s*\n", text):
            indent = _INDENT if name else ""
            yield textwrap.fill(
                " ".join(paragraph.split()),
                width,
                initial_indent=indent,
                subsequent_indent=indent,
                break_on_hyphens=False,
            )
