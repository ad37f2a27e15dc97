"""A document as typed values, with all that is wrong with its shape: a walk over the types and the values together."""

import json
import types
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import msgspec

from pgdoctor.fields import HIDDEN, PARSE, ValidationError

T = TypeVar("T", bound=msgspec.Struct)

#: Keys whose values are never shown, however wrong they are.
_SECRET_KEYS = ("dsn", "url")

#: Stand-ins for required keys that are missing or mistaken, so that the rest can be checked.
_STAND_INS = {"name": "missing", "class": "unknown", "action": "terminate"}


def read_document(raw: dict[str, Any], kind: type[T]) -> tuple[T, list[ValidationError]]:
    """What TOML or JSON says as a value of a type, without what is mistaken; and every mistake."""
    mistakes: list[ValidationError] = []
    return _read_table(raw, kind, "", mistakes), mistakes


def convert_value(value: object, kind: Any, *, strict: bool = True) -> Any:
    """A value of a type; not `strict`: from the text of a flag. Raises ValueError that says what is allowed."""
    chosen = _choose_alternative(value, kind)
    if chosen in PARSE:
        return PARSE[chosen](value)
    try:
        return msgspec.convert(value, chosen, strict=strict)
    except msgspec.ValidationError:
        raise ValueError(describe_type(kind)) from None


def _read_value(value: object, kind: Any, key: str, mistakes: list[ValidationError]) -> Any:
    """A value of a type; UNSET where it is mistaken."""
    chosen = _choose_alternative(value, kind)
    if isinstance(value, dict) and _is_table(chosen):
        return _read_table(value, chosen, key, mistakes)
    if isinstance(value, list) and get_origin(chosen) is tuple:
        return _read_list(value, get_args(chosen)[0], key, mistakes)
    try:
        return convert_value(value, kind)
    except ValueError as error:
        is_secret = key.rpartition(".")[2] in _SECRET_KEYS
        mistakes.append(ValidationError(key, HIDDEN if is_secret else value, join_lines(str(error))))
        return msgspec.UNSET


def _read_table(raw: dict[str, Any], kind: type[T], key: str, mistakes: list[ValidationError]) -> T:
    fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    values: dict[str, Any] = {}
    for name, value in raw.items():
        where = f"{key}.{join_lines(name)}".removeprefix(".")
        if name in fields:
            values[fields[name].name] = _read_value(value, fields[name].type, where, mistakes)
        else:
            mistakes.append(ValidationError(where, msgspec.UNSET, f"known keys are {', '.join(fields)}"))
    for name, field in fields.items():
        if field.required and name not in raw:
            mistakes.append(ValidationError(f"{key}.{name}", None, describe_type(field.type)))
        if field.required and values.get(field.name, msgspec.UNSET) is msgspec.UNSET:
            values[field.name] = _STAND_INS[name]
    return kind(**{name: value for name, value in values.items() if value is not msgspec.UNSET})


def _read_list(raw: list[Any], kind: Any, key: str, mistakes: list[ValidationError]) -> Any:
    """A tuple; UNSET where one of its values is, for the places of the others would not be those of the file."""
    values = tuple(_read_value(value, kind, f"{key}[{place}]", mistakes) for place, value in enumerate(raw))
    return msgspec.UNSET if msgspec.UNSET in values else values


def _choose_alternative(value: object, kind: Any) -> Any:
    """Of the types that a key may have, the one that a value is meant to be of."""
    alternatives = _list_alternatives(kind)
    fitting = [each for each in alternatives if (get_origin(each) is tuple) == isinstance(value, list)]
    return (fitting or alternatives)[0]


def _list_alternatives(kind: Any) -> tuple[Any, ...]:
    if get_origin(kind) in (Union, types.UnionType):
        return tuple(each for each in get_args(kind) if each is not type(None))
    return (kind,)


def describe_type(kind: Any) -> str:
    """A type in words."""
    return " or ".join(map(_allowed_alternative, _list_alternatives(kind)))


def _allowed_alternative(kind: Any) -> str:
    origin, arguments = get_origin(kind), get_args(kind)
    if kind in PARSE:
        return str(kind.allowed)
    if origin is Literal:
        return "one of " + ", ".join(f'"{value}"' for value in arguments)
    if origin is Annotated:
        meta = arguments[1]
        return meta.description or f"{describe_type(arguments[0])} from {meta.ge} to {meta.le}"
    if origin is tuple:
        return "a list of tables" if _is_table(arguments[0]) else f"a list, each {describe_type(arguments[0])}"
    if _is_table(kind):
        return "a table"
    return _IN_WORDS[kind]


_IN_WORDS = {str: "text in quotes", int: "a whole number", float: "a number", bool: "true or false"}


def _is_table(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def describe_mistake(mistake: ValidationError) -> str:
    """Key, value and what is allowed, on one line."""
    if mistake.value is HIDDEN:
        return f"{mistake.key}: {mistake.allowed}"
    if mistake.value is msgspec.UNSET:
        return f"{mistake.key}: unknown key; {mistake.allowed}"
    if mistake.value is None:
        return f"{mistake.key} is missing: {mistake.allowed}"
    return f"{mistake.key} = {_format_value(mistake.value)}: {mistake.allowed}"


def _format_value(value: object) -> str:
    """A value as in the file, but on one line and not too long."""
    if isinstance(value, dict) and value:
        return "{…}"
    text = join_lines(json.dumps(value, ensure_ascii=False, default=str))
    return text if len(text) <= 60 else f"{text[:59]}…"


def join_lines(text: str) -> str:
    """Without line ends and whatever else cannot be printed."""
    return "".join(char if char.isprintable() else "�" for char in text)
