"""Whether a CHECK implies the bounds of a partition, so that ATTACH PARTITION does not read the table.

Only what is plain: one column, and the same bounds. The server proves more; what is not plain counts as not implied.
"""

from collections.abc import Sequence
from typing import NamedTuple

from pgdoctor.preflight.case import StatementCase
from pgdoctor.sqltext.lexer import Sort, Token, scan_tokens


class PartitionBounds(NamedTuple):
    """`FROM (low) TO (high)`, or `IN (values)`: the literals as written, without quotes."""

    low: str = ""
    high: str = ""
    values: frozenset[str] = frozenset()


def read_bounds(case: StatementCase) -> PartitionBounds | None:
    """The bounds behind FOR VALUES; None where they are not of one column, or not of literals."""
    tokens, text = case.rest, case.sentence.text
    if len(tokens) < 3 or not (tokens[0].is_word("for") and tokens[1].is_word("values")):
        return None
    behind = tokens[2:]
    if behind[0].is_word("in"):
        values = _read_values(behind[1:], text)
        return PartitionBounds(values=frozenset(values)) if values else None
    to = next((place for place, token in enumerate(behind) if token.is_word("to")), None)
    if to is None or not behind[0].is_word("from"):
        return None
    low, high = _read_values(behind[1:to], text), _read_values(behind[to + 1 :], text)
    return PartitionBounds(low[0], high[0]) if low and high and len(low) == len(high) == 1 else None


def implies_bounds(check: str, bounds: PartitionBounds | None) -> bool:
    """Whether a constraint, as the server writes it, has these bounds and nothing that weakens them."""
    if bounds is None:
        return False
    tokens = list(scan_tokens(check))
    if any(token.is_word("or", "not") for token in _without_null_test(tokens)):
        return False
    found = list(_compared(tokens, check))
    if bounds.values:
        return bool(found) and all(operator == "=" for operator, _ in found) and {v for _, v in found} <= bounds.values
    return (">=", bounds.low) in found and ("<", bounds.high) in found


def _without_null_test(tokens: Sequence[Token]) -> list[Token]:
    kept: list[Token] = []
    for token in tokens:
        if token.is_word("null") and len(kept) > 1 and kept[-1].is_word("not") and kept[-2].is_word("is"):
            del kept[-2:]
        else:
            kept.append(token)
    return kept


def _compared(tokens: Sequence[Token], text: str) -> list[tuple[str, str]]:
    """Each literal with the operator in front of it."""
    found, operator = [], ""
    for place, token in enumerate(tokens):
        if token.is_symbol("<>=!"):
            operator = operator + token.value if place and tokens[place - 1].is_symbol("<>=!") else token.value
        elif token.sort in (Sort.STRING, Sort.NUMBER):
            found.append((operator, _plain(text[token.start : token.end])))
    return found


def _read_values(tokens: Sequence[Token], text: str) -> list[str]:
    values = []
    for token in tokens:
        if token.sort in (Sort.STRING, Sort.NUMBER):
            values.append(_plain(text[token.start : token.end]))
        elif not token.is_symbol("(),"):
            return []
    return values


def _plain(literal: str) -> str:
    """A literal without its quotes; of a time at midnight the day, as the server may add the rest."""
    value = literal.strip("'")
    for ending in ("+00", " 00:00:00"):
        value = value.removesuffix(ending)
    return value
