"""What a WHERE clause asks of the columns of one table, as far as an index could serve it.

The clause is handed to sqlglot with every literal replaced, so no literal can come back from there. What sqlglot
must be kept from was measured: exponential time for deep brackets, `$1,$2` taken for a dollar quote, recursion.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Literal

import msgspec

from pgdoctor.sqltext.lexer import Sort, Token, join_pieces, numbered_stand_in, stand_in

#: Limits of what sqlglot is given: 1,000 tokens take it some 20 ms, and each bracket level may double that.
MOST_TOKENS = 1_000
MOST_CHARACTERS = 16_384
MOST_DEPTH = 8

#: Literals that keep their number: those that a search can be for, whatever comes later in them.
_NUMBERED = ("", "x%")

#: The obstacle of a condition that is not about the table: `pg_sleep(1) IS NOT NULL`, `1 = 1`.
NO_COLUMN = "names no column of the table"


#: The place of a value that is no literal.
UNKNOWN_VALUE = -1

#: How an index is searched: for a value, from a value on, for the beginning of a text, for NULL or what is not; for a
#: pattern that is not known, which may turn out to be a value or a beginning.
Operator = Literal["=", "<", "prefix", "pattern", "null", "not null"]

#: What finds the few rows behind an obstacle: an index on the very expression, one of trigrams, one of parts; the
#: condition written as an equality, or of lower(); a partial index on the rows that have other values.
Helper = Literal["", "expression", "trigrams", "gin", "element", "equality", "folded", "others"]


class Search(msgspec.Struct, frozen=True):
    """A search of a plain btree that begins with a column.

    `value_type` is `numeric`, `float` or `text` where the text gives the value one of them, for then the column may be
    cast.
    """

    column: str
    operator: Operator = "="
    value_type: str = ""
    #: A range with an end on both sides.
    is_bounded: bool = False
    #: How many values it is for, as far as the text shows: a list has several.
    values: int = 1
    #: IS TRUE or IS FALSE, which imply the predicate of no partial index but one with the same words.
    is_test: bool = False

    @property
    def may_be_for_a_value(self) -> bool:
        """In doubt yes, for that is what most indexes serve."""
        return self.operator in ("=", "pattern")


class Expression(msgspec.Struct, frozen=True):
    """What is made of a column before it is compared: a field of its JSON value, a cast, or one of the other.

    `operators`: `->`, `->>` and `#>>`, each with a key in `keys`: where its literal begins. `cast`: the type, if any.
    `function`: `date_trunc`, whose unit is the only key.
    """

    column: str
    operators: tuple[str, ...] = ()
    keys: tuple[int, ...] = ()
    cast: str = ""
    function: str = ""


class Alternative(msgspec.Struct, frozen=True):
    """One side of an OR, or a condition that stands alone.

    `searches`: a plain btree that allows any one of them could find the rows; empty if there is an obstacle.
    `obstacle`: why no plain btree helps, in words; empty if one does. `mentions`: the columns behind the obstacle,
    which an index of another kind (on the expression, GIN, trigrams) may serve. `function`: `lower` or `upper` where
    an index on that function of the column would be searched for a value. `helper`: the index of another kind that
    would find its rows; empty where there is none, or where the rows may well be many. `is_doubtful`: an index that
    there is may serve it or not, so none is to be asked for. `excluded`: where the literals begin of the values that
    the wanted rows do not have, all of them. `unless_text`: what it is where the column is no text, for a cast to text
    changes nothing of one that is.
    """

    searches: tuple[Search, ...] = ()
    obstacle: str = ""
    mentions: tuple[str, ...] = ()
    function: str = ""
    helper: Helper = ""
    expression: Expression | None = None
    is_doubtful: bool = False
    excluded: tuple[int, ...] = ()
    unless_text: "Alternative | None" = None

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns whose plain index could find the rows."""
        return tuple(dict.fromkeys(search.column for search in self.searches))


class Filter(msgspec.Struct, frozen=True):
    """One of the conditions that must all hold. An index serves it only when every arm has one."""

    arms: tuple[Alternative, ...]


class GivenValues(msgspec.Struct, frozen=True):
    """The values that a text gives for a column, all of them: where each literal begins in it, and truth values."""

    column: str
    places: tuple[int, ...] = ()
    truths: tuple[bool, ...] = ()


class Tie(msgspec.Struct, frozen=True):
    """`column = other.other_column`, the only condition that ties the table to others.

    `other`: what the columns of the other table are qualified with. `table`: its name where a query in the condition
    reads it (IN, ANY, EXISTS). `filters`: what else is asked of the other table, as far as that is known.
    """

    column: str
    other: str
    other_column: str
    table: str = ""
    filters: tuple[Filter, ...] = ()


class Predicate(msgspec.Struct, frozen=True):
    """The conditions on the table, and whether others take part: tables joined to it, or a correlated subquery.

    `tied`: the columns that tie it to those others; an index on one of them may be searched for each of their rows.
    `given`: the columns that are searched for values that the text gives, and for no others.
    """

    filters: tuple[Filter, ...] = ()
    is_joined: bool = False
    tied: tuple[str, ...] = ()
    given: tuple[GivenValues, ...] = ()
    tie: Tie | None = None


def read_predicate(clause: Sequence[Token], owner: str, is_alone: bool) -> Predicate | None:
    """The conditions of a WHERE clause on one table; None where they cannot be read for certain.

    `owner` is the alias, or the name without schema, that the table's columns are qualified with. Columns without
    a qualifier are the table's if it is alone in the FROM list.
    """
    found = _plain_condition(clause)
    if found is None:
        return None
    # 9 to 31 MB of memory, which an agent on a healthy server must not pay.
    from pgdoctor.sqltext import where_clause

    condition, places = found
    return where_clause.read_condition(condition, owner, is_alone, places)


#: By the number that stands in a condition in the place of a literal, or by a parameter: where it, and those like it in
#: a list, begin.
Places = Mapping[int | str, tuple[int, ...]]


def _plain_condition(clause: Sequence[Token]) -> tuple[str, Places] | None:
    """The clause without its literals, as sqlglot can take it; None if it is beyond the limits or doubtful."""
    if not clause:
        return None
    kept = _without_repeats(clause)
    tokens = [token for token, _ in kept]
    if len(tokens) > MOST_TOKENS or _nesting_depth(tokens) > MOST_DEPTH:
        return None
    if any(token.sort in (Sort.DOUBTFUL, Sort.CUT) for token in tokens):
        return None
    numbers = {token.start: number for number, token in enumerate(tokens)}
    condition = "".join(join_pieces(tokens, partial(_write_token, numbers=numbers)))
    places: dict[int | str, tuple[int, ...]] = {}
    for number, (token, found) in enumerate(kept):
        places[token.value if token.sort is Sort.PARAMETER else number] = tuple(found)
    return (condition, places) if condition and len(condition) <= MOST_CHARACTERS else None


def write_without_literals(tokens: Sequence[Token]) -> str | None:
    """A statement as sqlglot can take it, with something else in the place of each literal; None as for a clause."""
    found = _plain_condition(tokens)
    return found[0] if found else None


def _write_token(token: Token, numbers: Mapping[int, int]) -> str:
    match token.sort:
        case Sort.STRING | Sort.NUMBER if token.value in _NUMBERED:
            return numbered_stand_in(token, numbers[token.start])
        case Sort.STRING | Sort.NUMBER:
            return stand_in(token)
        case Sort.PARAMETER:
            return f" {token.value} "
        case Sort.NAME:
            quoted = token.value.replace('"', '""')
            return f'"{quoted}"'
        case _:
            return token.value


def _without_repeats(clause: Sequence[Token]) -> list[tuple[Token, list[int]]]:
    """Lists of values cut down to one of them, each with where its values begin: the others tell nothing new."""
    kept: list[tuple[Token, list[int]]] = []
    skipped = False
    for token, following in zip(clause, [*clause[1:], None], strict=True):
        if skipped:
            skipped = False
        elif token.value == "," and following is not None and _is_between_values(token, kept, following):
            skipped = True
            value, places = kept[-1]
            # One that is no integer makes them all so. Of one that is no plain literal, none of them is known.
            kept[-1] = (following if following.sort is Sort.NUMBER and following.value else value), places
            places += [following.start] if _is_plain(following) else [UNKNOWN_VALUE]
        else:
            kept.append((token, [token.start if _is_plain(token) else UNKNOWN_VALUE]))
    return kept


def _is_between_values(comma: Token, kept: Sequence[tuple[Token, list[int]]], following: Token) -> bool:
    return comma.is_symbol(",") and bool(kept) and kept[-1][0].is_value and following.is_value


def _is_plain(token: Token) -> bool:
    return token.sort in (Sort.STRING, Sort.NUMBER)


def _nesting_depth(tokens: Sequence[Token]) -> int:
    depth = deepest = 0
    for token in tokens:
        depth += token.is_symbol("([") - token.is_symbol(")]")
        deepest = max(deepest, depth)
    return deepest
