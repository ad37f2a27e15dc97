"""How long the sentences of README and manual are; of figures only prose counts, no code."""

import re
from collections.abc import Iterator

_CODE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_TABLE_HEAD = re.compile(r"^\|.*\|\n\|[-| ]+\|$", re.MULTILINE)
_INLINE_CODE = re.compile(r"`[^`]+`")
_LINK = re.compile(r"\[([^]]+)\]\([^)]+\)")
_MARKER = re.compile(r"^(- |[0-9]+\. )")
_END = re.compile(r"(?<=[.!?])\)?\s+(?=\W?[A-Z0-9x\\(])")


def sentences(page: str) -> Iterator[str]:
    """The sentences of a page in Markdown, with `x` for what stands in backquotes.

    A heading is none, nor is a cell of a table without a full stop or a line that ends with a colon.
    """
    prose = _TABLE_HEAD.sub("", _COMMENT.sub("", _CODE.sub("", page)))
    for line in _LINK.sub(r"\1", _INLINE_CODE.sub("x", prose)).splitlines():
        if line and not line.startswith("#"):
            for unit in line.strip("|").split("|"):
                yield from (each for each in _END.split(_MARKER.sub("", unit.strip())) if is_sentence(each))


def is_sentence(text: str) -> bool:
    """Whether the text is more than a term, a name or a heading."""
    return text.rstrip(") ").endswith((".", "!", "?", ":", ";")) or words(text) > 30


def words(text: str) -> int:
    """The number of words: of what has a letter or a digit."""
    return sum(any(character.isalnum() for character in word) for word in text.split())
