"""Renders a template of the configuration, in a sandbox and within limits of time and memory.

A value is written so that it stays a value in what the template makes: a text in JSON, in HTML, in a form.
"""

import json
import resource
import signal
from collections.abc import Callable, Mapping
from typing import Any, NoReturn
from urllib.parse import quote_plus

import msgspec
from jinja2 import StrictUndefined, TemplateError, TemplateSyntaxError, Undefined
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from pgdoctor.notify.children.messages import TemplateResult, TemplateTask, serve_one
from pgdoctor.render.plain import format_one_line

#: What it may take: bytes of memory, seconds of the processor, bytes of what it makes.
_MOST_MEMORY = 128 * 1024 * 1024
MOST_SECONDS = 5
_MOST_BYTES = 256 * 1024

_MOST_MISTAKE = 200

#: Filters that make markup of a value, and those that hide what they are given.
_REFUSED_FILTERS = ("safe", "urlize", "forceescape", "xmlattr", "random", "pprint")


TOO_LONG = f"the template takes more than {MOST_SECONDS} s of the processor"


class _OutOfTime(Exception):
    """The seconds of the processor are over."""


class Encoded(str):
    """Text of a filter that is in the form already."""

    __slots__ = ()


def _encode_plain(value: Any) -> Any:
    return "" if value is None else value


def _encode_json(value: Any) -> Any:
    """Within quotes for a text; a whole value for everything else."""
    if isinstance(value, Encoded):
        return value
    return json.dumps(value)[1:-1] if isinstance(value, str) else json.dumps(value)


def _encode_form(value: Any) -> Any:
    return value if isinstance(value, Encoded) else quote_plus("" if value is None else str(value))


#: How a value is written, by the beginning of the content type.
_ENCODINGS: Mapping[str, Callable[[Any], Any]] = {
    "application/json": _encode_json,
    "application/x-www-form-urlencoded": _encode_form,
}


def render_template(task: TemplateTask) -> TemplateResult:
    """What the template makes of its values, or what is wrong with it."""
    kind = task.content_type.partition(";")[0]
    try:
        body = _render_bounded(task, kind)
    except _OutOfTime:
        return TemplateResult(mistake=TOO_LONG)
    except MemoryError:
        return TemplateResult(mistake="the template takes too much memory")
    except Exception as error:  # noqa: BLE001 (whatever a template does, it is the template's mistake)
        return TemplateResult(mistake=_describe_error(error))
    if kind == "application/json" and not _is_json(body):
        return TemplateResult(mistake="the template did not make valid JSON: see content_type")
    return TemplateResult(body)


def make_environment(kind: str) -> ImmutableSandboxedEnvironment:
    """One that reads no file, and in which values stay values in a content of this kind."""
    encode = _ENCODINGS.get(kind, _encode_plain)

    def finalize(value: Any) -> Any:
        if isinstance(value, Undefined):
            # Raises what it is: a name that is not there, or an attribute that is not allowed.
            str(value)
        return encode(value)

    is_markup = kind in ("text/html", "text/xml", "application/xml")
    environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined, autoescape=is_markup, finalize=finalize)
    for name in _REFUSED_FILTERS:
        environment.filters.pop(name, None)
    environment.filters["tojson"] = lambda value: Encoded(json.dumps(value))
    environment.filters["urlencode"] = lambda value: Encoded(quote_plus(str(value)))
    return environment


def _render_bounded(task: TemplateTask, kind: str) -> str:
    template = make_environment(kind).from_string(task.template)
    parts, length = [], 0
    for part in template.generate(**msgspec.json.decode(task.variables)):
        length += len(part.encode())
        if length > _MOST_BYTES:
            raise TemplateError(f"it makes more than {_MOST_BYTES // 1024} kB")
        parts.append(part)
    return "".join(parts)


def _describe_error(error: Exception) -> str:
    where = f"line {error.lineno}: " if isinstance(error, TemplateSyntaxError) else ""
    what = "not allowed: " if isinstance(error, SecurityError) else ""
    if isinstance(error, TemplateError):
        return f"the template: {where}{what}{format_one_line(error.message or type(error).__name__, _MOST_MISTAKE)}"
    return f"the template: {type(error).__name__}"


def _is_json(text: str) -> bool:
    try:
        msgspec.json.decode(text)
    except msgspec.DecodeError:
        return False
    return True


def _limit_resources() -> None:
    signal.signal(signal.SIGXCPU, _stop)
    _limit_resource(resource.RLIMIT_DATA, _MOST_MEMORY, _MOST_MEMORY)
    _limit_resource(resource.RLIMIT_FSIZE, 0, 0)
    # One operation that takes for ever is not interrupted by the first limit, but ended by the second.
    _limit_resource(resource.RLIMIT_CPU, MOST_SECONDS, MOST_SECONDS + 1)


def _limit_resource(kind: int, soft: int, hard: int) -> None:
    """What the service is limited to already may be less."""
    there = resource.getrlimit(kind)[1]
    hard = hard if there == resource.RLIM_INFINITY else min(hard, there)
    resource.setrlimit(kind, (min(soft, hard), hard))


def _stop(*_: object) -> NoReturn:
    raise _OutOfTime


if __name__ == "__main__":
    _limit_resources()
    serve_one(TemplateTask, render_template)
