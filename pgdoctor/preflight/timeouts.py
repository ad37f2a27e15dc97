"""The limits that a script sets for its statements: lock_timeout and statement_timeout."""

import re
from collections.abc import Mapping
from typing import NamedTuple

from pgdoctor.preflight.case import Sentence
from pgdoctor.sqltext.lexer import Sort
from pgdoctor.sqltext.token_stream import TokenStream

SETTINGS = ("lock_timeout", "statement_timeout")

_VALUE = re.compile(r"\s*(\d{1,12}(?:\.\d{1,6})?)\s*(us|ms|s|min|h|d)?\s*")
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3_600.0, "d": 86_400.0}


class Timeouts(NamedTuple):
    """Seconds by setting; 0: switched off. `local`: until the transaction ends."""

    session: Mapping[str, float] = {}
    local: Mapping[str, float] = {}

    def find(self, name: str) -> float | None:
        """The limit that holds now, in seconds; None: the script sets none, or has switched it off."""
        return self.local.get(name, self.session.get(name, 0.0)) or None

    def end_transaction(self) -> "Timeouts":
        """What holds behind COMMIT."""
        return self._replace(local={})


def follow_settings(timeouts: Timeouts, sentence: Sentence, *, in_transaction: bool) -> Timeouts:
    """What holds behind a statement: SET, RESET, DISCARD ALL, or `set_config()` in a SELECT."""
    stream = sentence.stream
    if stream[0].is_word("discard") and stream[1].is_word("all"):
        return Timeouts()
    if stream[0].is_word("reset"):
        return _reset(timeouts, stream)
    if stream[0].is_word("set"):
        return _set(timeouts, sentence, in_transaction)
    if stream[0].is_word("select"):
        return _call(timeouts, sentence, in_transaction)
    return timeouts


def _reset(timeouts: Timeouts, stream: TokenStream) -> Timeouts:
    names = SETTINGS if stream[1].is_word("all") else (stream[1].value,)
    for name in names:
        timeouts = _assign(timeouts, name, 0.0, is_local=False)
    return timeouts


def _set(timeouts: Timeouts, sentence: Sentence, in_transaction: bool) -> Timeouts:
    stream = sentence.stream
    index = 1 + stream[1].is_word("local", "session")
    value = stream[index + 2]
    if len(stream.tokens) != index + 3 or not stream[index].is_name:
        return timeouts
    seconds = _read_seconds(sentence.text[value.start : value.end])
    is_local = stream[1].is_word("local")
    if is_local and not in_transaction:
        return timeouts
    return _assign(timeouts, stream[index].value, seconds, is_local=is_local)


def _call(timeouts: Timeouts, sentence: Sentence, in_transaction: bool) -> Timeouts:
    stream = sentence.stream
    for index, token in enumerate(stream.tokens):
        arguments = stream.tokens[index + 2 : index + 7]
        if not token.is_word("set_config") or not stream[index + 1].is_symbol("(") or len(arguments) < 5:
            continue
        name, _, value, _, is_local = arguments
        if name.sort is not Sort.STRING or value.sort is not Sort.STRING:
            continue
        seconds = _read_seconds(sentence.text[value.start : value.end])
        setting = sentence.text[name.start : name.end].strip("'").lower()
        if is_local.is_word("false") or in_transaction:
            timeouts = _assign(timeouts, setting, seconds, is_local=not is_local.is_word("false"))
    return timeouts


def _assign(timeouts: Timeouts, name: str, seconds: float, *, is_local: bool) -> Timeouts:
    if name not in SETTINGS:
        return timeouts
    if is_local:
        return timeouts._replace(local={**timeouts.local, name: seconds})
    # SET takes the place of SET LOCAL at once.
    local = {each: limit for each, limit in timeouts.local.items() if each != name}
    return Timeouts({**timeouts.session, name: seconds}, local)


def _read_seconds(written: str) -> float:
    """The value in seconds; 0 where it cannot be read, for then no limit is known."""
    match = _VALUE.fullmatch(written.strip("'"))
    return float(match[1]) * _SECONDS[match[2] or "ms"] if match else 0.0
