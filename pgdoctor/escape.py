"""Text that clients chose, made safe to print: control characters and changes of direction are written as escapes."""

import re
from typing import Any

import msgspec

#: What `msgspec` leaves as it is in a JSON text, and a terminal or an editor obeys: DEL, C1, line separators, changes
#: of direction, invisible characters. Decided by `str.isprintable`, which says the same of C0.
_NOT_ASCII = re.compile(r"[\x7f-\U0010ffff]")


def encode_json(value: Any) -> bytes:
    """A value as JSON without a character that is not printable; what it means stays the same."""
    encoded = msgspec.json.encode(value)
    if encoded.isascii() and b"\x7f" not in encoded:
        return encoded
    text = encoded.decode()
    return encoded if text.isprintable() else _NOT_ASCII.sub(_in_json, text).encode()


def escape_text(text: str) -> str:
    """A text with what is not printable written out, line ends too, so that no value looks like another line."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def _in_json(found: re.Match[str]) -> str:
    char = found.group()
    if char.isprintable():
        return char
    code = char.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{code[begin : begin + 4]}" for begin in range(0, len(code), 4))
