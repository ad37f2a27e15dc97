"""A regular expression that is matched against the statements of clients, in time that is linear in their length.

The engine is RE2. It is loaded only where a pattern is configured.
"""

import re
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar, Self

if TYPE_CHECKING:
    import re2

#: Characters of a pattern, and instructions that RE2 makes of it. A statement has at most 16 KB; with this many
#: instructions the worst text takes RE2 less than 50 ms (measured, tests/mitigation/test_statement_pattern.py).
_MOST_CHARACTERS = 500
_MOST_INSTRUCTIONS = 500

#: Bytes that RE2 may keep for one pattern. When they are used up it goes on without a cache: slower, never wrong.
_MOST_BYTES = 1 << 20

_REPLACED = "\ufffd"

#: What Python's `re` knows, RE2 does not, and people write: how RE2's reason begins, and its name.
_NAMES = (
    ("invalid perl operator: (?=", "lookahead (?=...)"),
    ("invalid perl operator: (?!", "lookahead (?!...)"),
    ("invalid perl operator: (?<", "lookbehind (?<=...) or (?<!...)"),
    ("invalid perl operator: (?P", "backreference (?P=name)"),
    ("invalid perl operator: (?>", "atomic group (?>...)"),
    ("invalid perl operator: (?(", "conditional (?(1)...)"),
    ("invalid perl operator: (?#", "comment (?#...)"),
    ("invalid perl operator: (?x", "flag (?x)"),
    (r"invalid escape sequence: \Z", r"escape \Z; write \z"),
)
_BACKREFERENCE = re.compile(r"invalid escape sequence: \\[1-9]")


class StatementPattern(str):
    """A regular expression in RE2's syntax; its dot fits line breaks too."""

    __slots__ = ()
    allowed: ClassVar = f"a regular expression in RE2's syntax, at most {_MOST_CHARACTERS} characters"

    @classmethod
    def parse(cls, text: object) -> Self:
        """Raises ValueError with the reason for what RE2 cannot take."""
        if not isinstance(text, str) or not 0 < len(text) <= _MOST_CHARACTERS:
            raise ValueError(cls.allowed)
        if reason := _find_reason_against(text):
            raise ValueError(f"{cls.allowed}: {reason}")
        return cls(text)

    def matches_all(self, statement: str) -> bool | None:
        """Whether all of the statement is of this pattern; None where the text is not known in full."""
        return self._judge_fit(statement, _compile_pattern(self).fullmatch(_encode_text(statement)) is not None)

    def is_in(self, statement: str) -> bool | None:
        """Whether some part of the statement is of this pattern; None where the text is not known in full."""
        return self._judge_fit(statement, _compile_pattern(self).search(_encode_text(statement)) is not None)

    def _judge_fit(self, statement: str, fits: bool) -> bool | None:
        # Of a database in another encoding: a letter that is none of ASCII may have stood there.
        return None if not fits and _REPLACED in statement and not self.isascii() else fits


@lru_cache(maxsize=1024)
def _compile_pattern(pattern: str) -> "re2._Regexp":
    import re2

    options = re2.Options()
    # It writes them to stderr otherwise.
    options.log_errors = False
    options.dot_nl = True
    options.never_capture = True
    options.max_mem = _MOST_BYTES
    return re2.compile(pattern, options)


def _encode_text(text: str) -> bytes:
    return text.encode("utf-8", errors="replace")


def _find_reason_against(text: str) -> str | None:
    """Why RE2 cannot take a pattern, on one line; None where it can."""
    import re2

    try:
        size = _compile_pattern(text).programsize
    except UnicodeEncodeError:
        return "it is not Unicode text"
    except re2.error as error:
        return _name_reason(error.args[0].decode("utf-8", errors="replace") if error.args else "it does not parse")
    if size > _MOST_INSTRUCTIONS:
        return f"it compiles to {size} instructions, the limit is {_MOST_INSTRUCTIONS}: use fewer or smaller {{n,m}}"
    return None


def _name_reason(reason: str) -> str:
    if _BACKREFERENCE.match(reason):
        return r"RE2 has no backreference \1"
    name = next((name for beginning, name in _NAMES if reason.startswith(beginning)), None)
    return f"RE2 has no {name}" if name else reason
