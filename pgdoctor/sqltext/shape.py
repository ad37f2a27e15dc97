"""The shape of a text: what statements have in common that differ in their values alone.

A thousand sessions send one statement with a thousand values. A shape is computed once.
"""

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Generic, TypeVar

from pgdoctor.sqltext.lexer import NAME_PART

#: Characters of the longest text that has a shape.
LONGEST_SHAPED = 4_096

#: Shapes of texts up to so many characters are remembered, so many of them: 8 MB at the very most.
_LONGEST_KEPT = 1_024
_KEPT = 2_048

#: Longer texts are read several times for one diagnosis, so some of them are remembered too: 2 MB at the very most.
_LONGEST_REMEMBERED = 65_536
_LONG_REMEMBERED = 16

# A number of its own: not the end of a name, of a parameter, of a dollar quote or of an escape. The lexer takes every
# character beyond ASCII for a part of a name.
_NUMBER = re.compile(rf"(?<!\\)(?<!{NAME_PART})[0-9]++(?!{NAME_PART})")

# With other quotes, escapes or comments in the text, a single quote may be none.
_UNCERTAIN_QUOTES = re.compile(r"[\"\\]|\$(?![0-9])|--|/\*")
_STRING = re.compile(r"'[^']*+'")

Found = TypeVar("Found")


def find_shape(text: str) -> str:
    """The text with one number in place of each, and one string where it is certain what is a string.

    Numbers keep their length: a quoted name that is too long is not shown. The beginning of a LIKE pattern is lost.
    """
    return _kept_shape(text) if len(text) <= _LONGEST_KEPT else _make_shape(text)


def names_number(texts: Iterable[str]) -> bool:
    """A number stands in one of the texts: then it is a part of a quoted name, and has to be the text's own."""
    return any(map(_NUMBER.search, texts))


class ByShape(Generic[Found]):
    """Something that is read from a text, remembered by the shape of the text.

    `names`: what of the result is taken from the text as it stands there.
    """

    def __init__(
        self, read: Callable[[str, bool], Found], most: int, names: Callable[[Found], Iterable[str]] | None = None
    ) -> None:
        self._read = read
        self._names = names
        self._of_shape = lru_cache(maxsize=most)(self._read_shape)
        self._of_long_text = lru_cache(maxsize=_LONG_REMEMBERED)(read)

    def __call__(self, text: str, truncated: bool = False) -> Found:
        """What `read` says of the text. `truncated`: the server has cut it."""
        if len(text) > LONGEST_SHAPED:
            return (self._of_long_text if len(text) <= _LONGEST_REMEMBERED else self._read)(text, truncated)
        shape = find_shape(text)
        found, is_shared = self._of_shape(shape, truncated)
        return found if is_shared or shape == text else self._of_shape(text, truncated)[0]

    def cache_clear(self) -> None:
        """Forget what is remembered."""
        self._of_shape.cache_clear()
        self._of_long_text.cache_clear()

    def _read_shape(self, shape: str, truncated: bool) -> tuple[Found, bool]:
        found = self._read(shape, truncated)
        return found, self._names is None or not names_number(self._names(found))


def _make_shape(text: str) -> str:
    numbers = _NUMBER.sub(lambda number: "9" * len(number[0]), text)
    return numbers if _UNCERTAIN_QUOTES.search(numbers) else _STRING.sub("'9'", numbers)


_kept_shape = lru_cache(maxsize=_KEPT)(_make_shape)
