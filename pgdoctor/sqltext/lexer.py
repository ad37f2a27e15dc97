"""The words of a statement, by Postgres's lexical rules.

Comments and white space are left out, and so is the text of every literal: what reads tokens cannot leak one.
Anything without its end runs to the end of the text, for the server cuts at `track_activity_query_size`.
Source: PostgreSQL documentation, "Lexical Structure"; `scan.l` of 12 to 18.
"""

import re
from collections.abc import Callable, Container, Iterable, Iterator
from enum import Enum
from typing import NamedTuple


class Sort(Enum):
    """What a token is, and what its value then says."""

    WORD = "keyword, or name without quotes: folded to lower case"
    NAME = "quoted identifier: without its quotes"
    STRING = (
        "literal in quotes of any kind: its first character if that is a wildcard or an anchor, and `x` behind it "
        "where that is not all; `x%` if a wildcard comes later, else nothing"
    )
    NUMBER = "number: a dot if it is no integer, else nothing"
    PARAMETER = "parameter: as written, `$1`"
    SYMBOL = "one character of an operator, a bracket or a separator: that character"
    DOUBTFUL = "what settings or server versions read in different ways, or in none: nothing"
    CUT = "the rest of the text, from a quote or comment that has no end: nothing"


class Token(NamedTuple):
    sort: Sort
    value: str
    start: int
    end: int

    def is_word(self, *wanted: str) -> bool:
        return self.sort is Sort.WORD and self.value in wanted

    def is_any(self, wanted: Container[str]) -> bool:
        return self.sort is Sort.WORD and self.value in wanted

    def is_symbol(self, symbols: str) -> bool:
        return self.sort is Sort.SYMBOL and self.value in symbols

    @property
    def is_name(self) -> bool:
        return self.sort is Sort.WORD or self.sort is Sort.NAME

    @property
    def is_value(self) -> bool:
        """A literal, a parameter, or what `redact` writes in the place of a literal."""
        return self.sort in _VALUES or self.is_symbol("?")


_VALUES = frozenset({Sort.STRING, Sort.NUMBER, Sort.PARAMETER})

#: First characters of a pattern that decide whether an index can serve it.
_ANCHORS = "%_^"

#: What follows `^` in a regular expression that begins with no certain character.
_OPENING = tuple("([.\\^$|*+?")
_ALL_WILDCARDS = re.compile("[%_]++")

_OTHER_BASES = frozenset({"0x", "0X", "0o", "0O", "0b", "0B"})

# How a name begins and goes on, with every character beyond ASCII; and goes on without `$`, with a dot, and
# without digits. Said by what is left out: a class with all of Unicode takes 20 ms to compile (measured).
_FIRST = r"[^\x00-\x40\x5b-\x5e\x60\x7b-\x7f]"
NAME_PART = r"[^\x00-\x23\x25-\x2f\x3a-\x40\x5b-\x5e\x60\x7b-\x7f]"
_PLAIN = r"[^\x00-\x2f\x3a-\x40\x5b-\x5e\x60\x7b-\x7f]"
_DOTTED = r"[^\x00-\x2d\x2f\x3a-\x40\x5b-\x5e\x60\x7b-\x7f]"
_NO_DIGIT = r"[^\x00-\x23\x25-\x40\x5b-\x5e\x60\x7b-\x7f]"

# Possessive and atomic throughout: hostile text must cost linear time.
_LEXEME = re.compile(
    rf"""
      (?P<gap>       (?: [\x00-\x20\x7f]++ | --[^\r\n]*+ | /\*(?:[^*/]++|\*(?!/)|/(?!\*))*+\*/ )++ )
    | (?P<comment>   /\* )
    | (?P<escaped>   [eE]' (?: [^'\\]++ | '' | \\[\s\S] )*+ ' )
    | (?P<plain>     (?:[bBnNxX]|[uU]&)?' (?: [^']++ | '' )*+ ' )
    | (?P<dollar>    \$ (?: {_FIRST}{_PLAIN}*+ )? \$ )
    | (?P<quoted>    (?:[uU]&)?" (?: [^"]++ | "" )*+ " )
    | (?P<open>      (?:[bBeEnNxX]|[uU]&)?' | (?:[uU]&)?" )
    | (?P<word>      {_FIRST}{NAME_PART}*+ )
    | (?P<parameter> \$[0-9]++ (?!{_NO_DIGIT}) )
    | (?P<number>    (?> 0[xX](?:_?[0-9A-Fa-f])++ | 0[oO](?:_?[0-7])++ | 0[bB](?:_?[01])++
                       | (?: [0-9](?:_?[0-9])*+ (?: \.(?!\.) (?:[0-9](?:_?[0-9])*+)? )?
                           | \.[0-9](?:_?[0-9])*+ )
                         (?: [eE][+-]?[0-9](?:_?[0-9])*+ )? )
                     (?!{NAME_PART}) )
    | (?P<symbol>    [-~!@#^&|`?+*/%<>=()\[\],;:] | \.(?![0-9]) )
    | (?P<doubtful>  \$?\.?[0-9]{_DOTTED}*+ | [\s\S] )
    """,
    re.VERBOSE,
)

#: These quotes where a backslash escapes, as it does with `standard_conforming_strings` off.
_BACKSLASH_ESCAPES = re.compile(r"'(?:[^'\\]++|''|\\[\s\S])*+'")

_COMMENT_EDGE = re.compile(r"/\*|\*/")

#: The server folds ASCII letters only; `str.lower` would turn the Kelvin sign into a `k`.
_FOLD = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz")

_Reading = tuple[Sort | None, str, int]


def scan_tokens(text: str, start: int = 0) -> Iterator[Token]:
    """The tokens of any text from `start` on, in order; costs time in proportion to its length and never raises."""
    position = start
    while (match := _LEXEME.match(text, position)) is not None:
        assert match.lastgroup is not None
        sort, value, end = _READERS[match.lastgroup](match)
        if sort is not None:
            yield Token(sort, value, position, end)
        position = end


def word_set(text: str) -> frozenset[str]:
    """A set of words, written as one."""
    return frozenset(text.split())


def stand_in(token: Token) -> str:
    """A literal that reads as the same token as the one that a STRING or NUMBER was made from, and says no more."""
    if token.sort is Sort.STRING:
        return f"'{token.value or 'x'}'"
    return "1.5" if token.value else "1"


def numbered_stand_in(token: Token, number: int) -> str:
    """A literal that begins without a wildcard or an anchor: it says which token of a list it stands for."""
    return f"'x{number}{token.value[1:]}'" if token.sort is Sort.STRING else str(number)


def stand_in_number(literal: str) -> int | None:
    """The number of the token that a stand-in stands for; None where it says none."""
    digits = literal.removeprefix("x").removesuffix("%")
    return int(digits) if digits.isdecimal() else None


def read_literal(text: str, start: int) -> str | None:
    """The value of the literal that begins there, as the server reads it; None where that is not certain."""
    match = _LEXEME.match(text, start)
    if match is None:
        return None
    written = match.group()
    if match.lastgroup == "number":
        return written if written.isascii() and written.isdecimal() else None
    if match.lastgroup == "plain" and written.startswith("'") and "\\" not in written:
        return written[1:-1].replace("''", "'")
    return None


def join_pieces(tokens: Iterable[Token], written: Callable[[Token], str]) -> Iterator[str]:
    """The tokens, each written by `written`, with one space wherever white space or a comment was between two."""
    last: Token | None = None
    for token in tokens:
        if last is not None and token.start > last.end:
            yield " "
        yield written(token)
        last = token


def _read_nothing(match: re.Match[str]) -> _Reading:
    return None, "", match.end()


def _read_comment(match: re.Match[str]) -> _Reading:
    depth = 0
    for edge in _COMMENT_EDGE.finditer(match.string, match.start()):
        depth += 1 if edge.group() == "/*" else -1
        if depth == 0:
            return None, "", edge.end()
    return _read_cut(match)


def _read_plain(match: re.Match[str]) -> _Reading:
    quote = match.string.index("'", match.start())
    if match.string.find("\\", quote, match.end()) >= 0:
        # Looking beyond our own end would cost quadratic time; an end that is not one there is all it takes.
        other = _BACKSLASH_ESCAPES.match(match.string, quote, match.end())
        if other is None or other.end() != match.end():
            return Sort.DOUBTFUL, "", match.end()
    return Sort.STRING, _find_anchor(match.string, quote + 1, match.end() - 1), match.end()


def _read_escaped(match: re.Match[str]) -> _Reading:
    return Sort.STRING, _find_anchor(match.string, match.start() + 2, match.end() - 1), match.end()


def _read_dollar(match: re.Match[str]) -> _Reading:
    end = match.string.find(match.group(), match.end())
    if end < 0:
        return _read_cut(match)
    return Sort.STRING, _find_anchor(match.string, match.end(), end), end + len(match.group())


def _read_quoted(match: re.Match[str]) -> _Reading:
    start = match.string.index('"', match.start()) + 1
    return Sort.NAME, match.string[start : match.end() - 1].replace('""', '"'), match.end()


def _read_word(match: re.Match[str]) -> _Reading:
    return Sort.WORD, match.group().translate(_FOLD), match.end()


def _read_cut(match: re.Match[str]) -> _Reading:
    return Sort.CUT, "", len(match.string)


def _find_anchor(text: str, start: int, end: int) -> str:
    if text[start] == "^" and _is_open(text, start, end):
        return "_x"
    if text[start] in _ANCHORS:
        return text[start] if _ALL_WILDCARDS.fullmatch(text, start, end) else f"{text[start]}x"
    # After a backslash the character may be a wildcard or not.
    has_wildcard = text.find("%", start, end) >= 0 or text.find("_", start, end) >= 0
    return "x%" if has_wildcard and text.find("\\", start, end) < 0 else ""


def _is_open(text: str, start: int, end: int) -> bool:
    """No character is certain at the beginning of the regular expression: `^(a|b)`."""
    return text[start + 1 : start + 2] in _OPENING or text.find("|", start, end) >= 0


def _find_fraction(number: str) -> str:
    is_integer = number[:2] in _OTHER_BASES or not any(each in number for each in ".eE")
    return "" if is_integer else "."


_READERS: dict[str, Callable[[re.Match[str]], _Reading]] = {
    "gap": _read_nothing,
    "comment": _read_comment,
    "escaped": _read_escaped,
    "plain": _read_plain,
    "dollar": _read_dollar,
    "quoted": _read_quoted,
    "open": _read_cut,
    "word": _read_word,
    "parameter": lambda match: (Sort.PARAMETER, match.group(), match.end()),
    "number": lambda match: (Sort.NUMBER, _find_fraction(match.group()), match.end()),
    "symbol": lambda match: (Sort.SYMBOL, match.group(), match.end()),
    "doubtful": lambda match: (Sort.DOUBTFUL, "", match.end()),
}
