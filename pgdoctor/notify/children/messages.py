"""What the agent and its child processes say to each other."""

import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import msgspec

from pgdoctor.escape import encode_json
from pgdoctor.notify.child import READY


class TemplateTask(msgspec.Struct, frozen=True):
    """A template, the values that it may name as a JSON object, and what it makes."""

    template: str
    variables: msgspec.Raw
    content_type: str


class TemplateResult(msgspec.Struct, frozen=True):
    """What a template has made, or why it has not: text that quotes no value."""

    body: str = ""
    mistake: str | None = None


class AppriseTask(msgspec.Struct, frozen=True):
    """Where to, and what."""

    url: str
    message: msgspec.Raw


class AppriseMessage(msgspec.Struct, frozen=True):
    """`type` is one of Apprise's."""

    title: str
    body: str
    type: str


class AppriseResult(msgspec.Struct, frozen=True):
    """`status`: of the service's answer, if it is known. `is_usable`: Apprise knows such an URL."""

    is_delivered: bool
    is_usable: bool = True
    status: int | None = None


T = TypeVar("T")


def serve_one(task: type[T], work: Callable[[T], msgspec.Struct]) -> None:
    """Do one task: read from standard input, answered on standard output."""
    out = sys.stdout.buffer
    # Whatever a library prints is no part of the answer.
    sys.stdout = sys.stderr
    # Where a service has no memory left, this ends, and not the agent.
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    out.write(READY)
    out.flush()
    result = work(msgspec.json.decode(sys.stdin.buffer.readline(), type=task))
    out.write(encode_json(result) + b"\n")
    out.flush()
