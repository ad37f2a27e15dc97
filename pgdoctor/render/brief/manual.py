"""A page of the manual in parts that are short enough, and the list of all topics."""

from collections.abc import Mapping

import msgspec

#: Characters of a part.
PART = 6_000


class BriefTopic(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer of the tool `explain`: without a topic the names of all by kind, else a part of its page."""

    topic: str | None = None
    part: int = 1
    parts: int = 1
    text: str = ""
    topics: Mapping[str, tuple[str, ...]] = {}


def split_page(topic: str, text: str, part: int) -> BriefTopic | None:
    """A part of a page, counted from 1; None: it has fewer. Lines stay whole, unless one is longer than a part."""
    parts = _split_lines(text)
    return BriefTopic(topic, part, len(parts), parts[part - 1]) if part <= len(parts) else None


def _split_lines(text: str) -> list[str]:
    parts = [""]
    for line in text.splitlines(keepends=True):
        for begin in range(0, len(line), PART):
            piece = line[begin : begin + PART]
            if parts[-1] and len(parts[-1]) + len(piece) > PART:
                parts.append("")
            parts[-1] += piece
    return parts
