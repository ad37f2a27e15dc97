"""Logs that a cloud or a container runtime exports as JSON: the lines of the server are texts in it.

Known are Cloud Logging (`textPayload`), CloudWatch (`events`, `message`), RDS (`LogFileData`), Azure
(`records`, `properties`, `message`) and the files of Docker (`log`). Whether a text is a log of the server shows when
its lines are read.
"""

from collections.abc import Iterator
from typing import Any

import msgspec

from pgdoctor.serverlog.json_log import read_object

_LISTS = ("events", "records", "entries", "value")
_TEXTS = ("textPayload", "LogFileData", "log", "message", "Message")


def may_be_export(first: bytes) -> bool:
    """It begins as JSON does, and is no jsonlog of the server."""
    lines = first.lstrip(b"\xef\xbb\xbf \r\n\t").split(b"\n", 50)[:50]
    is_json = lines[0].startswith((b"{", b"[{")) or lines[0].strip() == b"["
    return is_json and not any(map(read_object, lines))


def unwrap_export(data: bytes) -> bytes | None:
    """The lines of the log, in the order of time; None where it is no such export."""
    texts = list(_find_texts(_decode_documents(data)))
    if not texts:
        return None
    # Cloud Logging gives the latest first.
    if texts[0][:19] > texts[-1][:19]:
        texts.reverse()
    return b"".join(_write_lines(text) for text in texts)


def _decode_documents(data: bytes) -> Iterator[Any]:
    """The entries: of an array, of one that an object has, or an object a line."""
    try:
        found = msgspec.json.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        for line in data.splitlines():
            try:
                yield msgspec.json.decode(line)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                continue
        return
    if isinstance(found, dict):
        found = next((found[name] for name in _LISTS if isinstance(found.get(name), list)), [found])
    yield from found if isinstance(found, list) else []


def _find_texts(documents: Iterator[Any]) -> Iterator[str]:
    for document in documents:
        if not isinstance(document, dict):
            continue
        inner = document.get("properties")
        place = inner if isinstance(inner, dict) else document
        text = next((place[name] for name in _TEXTS if isinstance(place.get(name), str)), None)
        if text:
            yield text


def _write_lines(text: str) -> bytes:
    """The lines of one text. RDS has a whole file in it; elsewhere each text is one line, or goes on behind tabs."""
    return text.rstrip("\r\n").encode(errors="replace") + b"\n"
