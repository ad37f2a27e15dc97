"""The words of a statement, by Postgres's lexical rules.

Comments and white space are left out, and so is the text of every literal: what reads tokens cannot leak one.
Anything that is not terminated (the server cuts statements at `track_activity_query_size`) runs to the end.
Source: PostgreSQL documentation, "Lexical Structure"; `scan.l` of 12 to 18.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from itertools import islice
from typing import NamedTuple


class Sort(Enum):
    """What a token is."""

    WORD = "word"  # keyword or name without quotes; the value is folded to lower case
    NAME = "name"  # quoted identifier; the value is without the quotes
    STRING = "string"  # any quoted literal; the value is its first character if that is a wildcard or anchor
    NUMBER = "number"
    PARAMETER = "parameter"  # `$1`
    SYMBOL = "symbol"  # one character of an operator, bracket or separator
    DOUBTFUL = "doubtful"  # what follows may be read in two ways (by settings or versions), or in none
    CUT = "cut"  # a literal, quoted name or comment without its end: the rest of the text


class Token(NamedTuple):
    sort: Sort
    value: str
    start: int
    end: int

    def is_word(self, *words: str) -> bool:
        return self.sort is Sort.WORD and self.value in words

    def is_symbol(self, symbols: str) -> bool:
        return self.sort is Sort.SYMBOL and self.value in symbols

    @property
    def is_name(self) -> bool:
        return self.sort is Sort.WORD or self.sort is Sort.NAME


# Possessive and atomic throughout: hostile text must cost linear time.
_LEXEME = re.compile(
    r"""
      (?P<gap>       [\x00-\x20\x7f]++ | --[^\r\n]*+ )
    | (?P<comment>   /\* )
    | (?P<escaped>   [eE]'(?:[^'\\]++|''|\\[\s\S])*+' )
    | (?P<plain>     (?:[bBnNxX]|[uU]&)?'(?:[^']++|'')*+' )
    | (?P<dollar>    \$(?:[A-Za-z_\x80-\U0010ffff][A-Za-z0-9_\x80-\U0010ffff]*+)?\$ )
    | (?P<quoted>    (?:[uU]&)?"(?:[^"]++|"")*+" )
    | (?P<open>      (?:[bBeEnNxX]|[uU]&)?' | (?:[uU]&)?" )
    | (?P<word>      [A-Za-z_\x80-\U0010ffff][A-Za-z0-9_$\x80-\U0010ffff]*+ )
    | (?P<parameter> \$[0-9]++ (?![A-Za-z_$\x80-\U0010ffff]) )
    | (?P<number>    (?> 0[xX](?:_?[0-9A-Fa-f])++ | 0[oO](?:_?[0-7])++ | 0[bB](?:_?[01])++
                       | (?: [0-9](?:_?[0-9])*+ (?:\.(?!\.)(?:[0-9](?:_?[0-9])*+)?)?
                           | \.[0-9](?:_?[0-9])*+ )
                         (?: [eE][+-]?[0-9](?:_?[0-9])*+ )? )
                     (?![A-Za-z0-9_$\x80-\U0010ffff]) )
    | (?P<symbol>    [-~!@#^&|`?+*/%<>=()\[\].,;:] (?<!\.)(?<!x) | \.(?![0-9]) )
    | (?P<doubtful>  \$?\.?[0-9][A-Za-z0-9_.\x80-\U0010ffff]*+ | [\s\S] )
    """,
    re.VERBOSE,
)
