"""The advisory lock that a statement asks for without waiting, as migration tools and leader elections do.

Source: PostgreSQL documentation, "Advisory Lock Functions": pg_try_advisory_lock() answers false instead of waiting.
"""

import re
from typing import NamedTuple

from pgdoctor.diagnosis.lock_holders import read_advisory_key
from pgdoctor.model.advisory_key import AdvisoryKey
from pgdoctor.sqltext.lexer import Token, scan_tokens

_FUNCTIONS = frozenset(f"pg_try_advisory_{level}lock{shared}" for level in ("", "xact_") for shared in ("", "_shared"))

_CAST = re.compile(r"::\s*[\w.\"]+")


class TriedLockRequest(NamedTuple):
    """A lock that a statement tried to get. `key`: None where the text does not show it."""

    key: AdvisoryKey | None


def read_tried_request(statement: str) -> TriedLockRequest | None:
    """The lock that a statement tries to get; None where it calls none of the functions, or several times."""
    tokens = list(scan_tokens(statement))
    calls = [index for index, token in enumerate(tokens) if token.is_name and token.value in _FUNCTIONS]
    if len(calls) != 1:
        return None
    return TriedLockRequest(_read_key(statement, tokens[calls[0] + 1 :]))


def _read_key(statement: str, tokens: list[Token]) -> AdvisoryKey | None:
    """The arguments between two brackets, as a key. Any bracket within them makes a call, whose value is not known."""
    if not tokens or not tokens[0].is_symbol("("):
        return None
    end = next((token for token in tokens[1:] if token.is_symbol("()")), None)
    if end is None or not end.is_symbol(")"):
        return None
    arguments = _CAST.sub("", statement[tokens[0].end : end.start])
    return read_advisory_key(arguments.replace("'", ""))
