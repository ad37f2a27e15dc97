"""A document as typed values, with all that is wrong with its shape.

The decoder stops at the first mistake. To name all, each one is taken out of the document and the rest decoded again,
until the document is sound or nothing more can be taken out.
"""

import json
import re
import types
from typing import Annotated, Any, Generic, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec

from pgdoctor.mitigation.lint import Mistake
from pgdoctor.mitigation.written import PARSE
from pgdoctor.notify.settings import HIDDEN

T = TypeVar("T")

_Keys = list[str | int]

#: Keys whose values are never shown, however wrong they are.
_SECRET_KEYS = ("dsn", "url")

_WHERE = re.compile(r"(?P<what>.*?)(?: - at `\$(?P<path>[^`]*)`)?", re.DOTALL)
_UNKNOWN_KEY = "Object contains unknown field"
_MISSING_KEY = re.compile(r"Object missing required field `(.*)`")
_STEP = re.compile(r"\.(\w+)|\[(\d+)\]")

#: Stand-ins for missing keys, so that the rest can be looked at.
_STAND_INS = {"name": "missing", "class": "unknown", "action": "terminate"}


class Document(Generic[T]):
    """What TOML or JSON says, to be read as values of one type. It is used up by that."""

    def __init__(self, raw: dict[str, Any], kind: type[T]) -> None:
        self._raw = raw
        self._kind = kind
        self._taken_out: set[tuple[str | int, ...]] = set()
        #: What `read` has found.
        self.mistakes: list[Mistake] = []

    def read(self) -> T | None:
        """The values, without what is mistaken; None where nothing is left."""
        while True:
            try:
                return msgspec.convert(self._raw, self._kind, dec_hook=decode)
            except msgspec.ValidationError as error:
                if not self._take_out(str(error)):
                    self.mistakes.append(Mistake("this file", msgspec.UNSET, one_line(str(error))))
                    return None

    def _take_out(self, said: str) -> bool:
        """Note one mistake and take it out; False where there is none at the place that is named."""
        match = _WHERE.fullmatch(said)
        keys = _keys(match["path"]) if match else []
        if said.startswith(_UNKNOWN_KEY):
            return self._take_out_unknown(keys)
        if match and (missing := _MISSING_KEY.fullmatch(match["what"])):
            self._fill_in([*keys, missing[1]])
            return True
        if not keys:
            return False
        value = HIDDEN if keys[-1] in _SECRET_KEYS else _at(self._raw, keys)
        wanted = allowed(self._type_at(keys))
        # A type of ours may say more than what is allowed: why this value is not.
        if match and match["what"].startswith(f"{wanted}: "):
            wanted = one_line(match["what"])
        self.mistakes.append(Mistake(_dotted(keys), value, wanted))
        while not isinstance(keys[-1], str):
            keys.pop()
        del _at(self._raw, keys[:-1])[keys[-1]]
        self._taken_out.add(tuple(keys))
        return True

    def _take_out_unknown(self, keys: _Keys) -> bool:
        table = _at(self._raw, keys)
        known = [field.encode_name for field in msgspec.structs.fields(self._type_at(keys))]
        unknown = [key for key in table if key not in known]
        for key in unknown:
            why = f"the keys here are {', '.join(known)}"
            self.mistakes.append(Mistake(_dotted([*keys, key]), msgspec.UNSET, why))
            del table[key]
        return bool(unknown)

    def _fill_in(self, keys: _Keys) -> None:
        """Note that a key is missing, unless it was there and was taken out."""
        if tuple(keys) not in self._taken_out:
            self.mistakes.append(Mistake(_dotted(keys), None, allowed(self._type_at(keys))))
        _at(self._raw, keys[:-1])[keys[-1]] = _STAND_INS[str(keys[-1])]

    def _type_at(self, keys: _Keys) -> Any:
        """The declared type of a value."""
        kind: Any = self._kind
        for key in keys:
            if isinstance(key, int):
                arrays = [each for each in _alternatives(kind) if get_origin(each) is tuple]
                kind = get_args(arrays[0])[0]
            else:
                field = next(field for field in msgspec.structs.fields(kind) if field.encode_name == key)
                kind = get_type_hints(kind, include_extras=True)[field.name]
        return kind


def decode(wanted: type, value: object) -> object:
    """For the decoder: a value of one of our own types."""
    return PARSE[wanted](value)


def _keys(path: str | None) -> _Keys:
    return [name or int(place) for name, place in _STEP.findall(path or "")]


def _at(raw: Any, keys: _Keys) -> Any:
    for key in keys:
        raw = raw[key]
    return raw


def _dotted(keys: _Keys) -> str:
    """The way to a key as people write it: `mitigation.rules[0].min_wait`."""
    text = "".join(f"[{key}]" if isinstance(key, int) else f".{one_line(key)}" for key in keys)
    return text.removeprefix(".")


def _alternatives(kind: Any) -> tuple[Any, ...]:
    if get_origin(kind) in (Union, types.UnionType):
        return tuple(each for each in get_args(kind) if each is not type(None))
    return (kind,)


def allowed(kind: Any) -> str:
    """A type in words."""
    return " or ".join(map(_allowed_alternative, _alternatives(kind)))


def _allowed_alternative(kind: Any) -> str:
    origin, arguments = get_origin(kind), get_args(kind)
    if kind in PARSE:
        return str(kind.allowed)
    if origin is Literal:
        return "one of " + ", ".join(f'"{value}"' for value in arguments)
    if origin is Annotated:
        meta = arguments[1]
        return meta.description or f"{allowed(arguments[0])} from {meta.ge} to {meta.le}"
    if origin is tuple:
        return "a list of tables" if _is_table(arguments[0]) else f"a list, each {allowed(arguments[0])}"
    if _is_table(kind):
        return "a table"
    return _IN_WORDS[kind]


_IN_WORDS = {str: "text in quotes", int: "a whole number", float: "a number", bool: "true or false"}


def _is_table(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def say(mistake: Mistake) -> str:
    """Key, value and what is allowed, on one line."""
    if mistake.value is HIDDEN:
        return f"{mistake.key}: {mistake.allowed}"
    if mistake.value is msgspec.UNSET:
        return f"{mistake.key}: unknown key; {mistake.allowed}"
    if mistake.value is None:
        return f"{mistake.key} is missing: {mistake.allowed}"
    return f"{mistake.key} = {_shown(mistake.value)}: {mistake.allowed}"


def _shown(value: object) -> str:
    """A value as in the file, but on one line and not too long."""
    if isinstance(value, dict) and value:
        return "{…}"
    text = one_line(json.dumps(value, ensure_ascii=False, default=str))
    return text if len(text) <= 60 else f"{text[:59]}…"


def one_line(text: str) -> str:
    """Without line ends and whatever else cannot be printed."""
    return "".join(char if char.isprintable() else "�" for char in text)
