"""Text that clients chose, made safe to print: control characters and changes of direction are written as escapes."""

import re
from typing import Any

import msgspec

#: What `msgspec` leaves as it is in a JSON text, and a terminal or an editor obeys: DEL, C1, line separators, changes
#: of direction, invisible characters. Decided by `str.isprintable`, which says the same of C0.
_NOT_ASCII = re.compile(r"[\x7f-\U0010ffff]")

#: What chats, mails and pagers read as markup, a mention or a link, and what people read instead.
_LOOK_ALIKES = str.maketrans(dict(zip("@<>&*`~|[]#\\", "＠‹›＆∗ˋ∼¦［］＃＼", strict=True)))
_MARKUP = (
    (re.compile(r"(?<![^\W_])_|_(?![^\W_])"), "＿"),  # Not within a word: it is part of most names.
    (re.compile(r"://"), ":／／"),
    (re.compile(r"(?i)\b(www|mailto|tel|javascript|data)([.:])(?=\S)"), r"\1［\2］"),
    (re.compile(r"([{$])(?=[{%])"), r"\1 "),
)

#: A dot with which a name could be the address of a site: `evil.example`.
_DOT = re.compile(r"(?<=\w)\.(?=[^\W\d_]{2})")


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


def defuse_markup(text: str) -> str:
    """A text that no receiver reads as markup, a mention or a link with a scheme; people read what it was."""
    text = text.translate(_LOOK_ALIKES)
    for pattern, instead in _MARKUP:
        text = pattern.sub(instead, text)
    return text


def defuse_name(text: str) -> str:
    """A name that its user chose freely: what `defuse_markup` does, and it is no address without a scheme either."""
    return _DOT.sub("［.］", defuse_markup(text))


def _in_json(found: re.Match[str]) -> str:
    char = found.group()
    if char.isprintable():
        return char
    code = char.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{code[begin : begin + 4]}" for begin in range(0, len(code), 4))
