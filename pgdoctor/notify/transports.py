"""The ways in which one request of a format gets to its receiver."""

import ssl
from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from pgdoctor.notify.child import ChildFailed, run_child
from pgdoctor.notify.children.messages import AppriseResult, AppriseTask, TemplateResult, TemplateTask
from pgdoctor.notify.endpoint import Endpoint
from pgdoctor.notify.format import LATER, Format, Outgoing, Reply, Transport
from pgdoctor.notify.http_post import send_request
from pgdoctor.render.plain import format_one_line

#: Seconds for a template, which is limited to a few of the processor; a machine may be busy.
_RENDERING = 60.0

_MOST_SAID = 200


class Way(NamedTuple):
    """How to: what is known of the receiver, seconds for an attempt, and bytes of an answer for people (0: none)."""

    endpoint: Endpoint
    seconds: float
    tls: ssl.SSLContext | None
    most_said: int = 0


async def send_part(kind: Format, part: Outgoing, way: Way, thread: str | None = None) -> Reply:
    """Send one request; what its answer means. Raises Unanswered."""
    return await _TRANSPORTS[kind.transport](kind, part, way, thread)


async def render_body(kind: Format, part: Outgoing, endpoint: Endpoint) -> TemplateResult:
    """The body as it is sent, without secrets, and for a template what it makes."""
    if kind.transport != "template":
        return TemplateResult(part.body.decode())
    task = TemplateTask(endpoint.template or "", msgspec.Raw(part.body), endpoint.content_type)
    try:
        return await run_child("render_template", task, TemplateResult, _RENDERING)
    except ChildFailed as error:
        return TemplateResult(mistake=f"the template: {error}")


async def _send_http(kind: Format, part: Outgoing, way: Way, thread: str | None) -> Reply:
    request = kind.make_request(part, way.endpoint, thread)
    answer = await send_request(request, way.seconds, way.tls, max(kind.most_answer, way.most_said))
    reply = kind.read_answer(answer, way.endpoint)
    return replace(reply, said=quote_answer(answer.body[: way.most_said], way.endpoint))


async def _send_rendered(kind: Format, part: Outgoing, way: Way, thread: str | None) -> Reply:
    made = await render_body(kind, part, way.endpoint)
    if made.mistake is not None:
        return Reply(False, made.mistake)
    return await _send_http(kind, replace(part, body=made.body.encode()), way, thread)


async def _send_apprise(kind: Format, part: Outgoing, way: Way, thread: str | None) -> Reply:  # noqa: ARG001
    task = AppriseTask(way.endpoint.url, msgspec.Raw(part.body))
    try:
        result = await run_child("send_apprise", task, AppriseResult, way.seconds)
    except ChildFailed as error:
        return Reply(False, f"Apprise: {error}", may_work_later=True)
    if result.is_delivered:
        return Reply(True, "Apprise has delivered it")
    if not result.is_usable:
        return Reply(False, "Apprise cannot use the URL in url_file")
    if result.status is None:
        return Reply(False, "Apprise could not deliver it", may_work_later=True)
    return Reply(False, f"the receiver answered {result.status}", result.status in LATER, status=result.status)


def quote_answer(body: bytes, endpoint: Endpoint) -> str:
    """What a receiver says, for people; nothing where it repeats a secret."""
    text = body.decode("utf-8", "replace").strip()
    if any(secret in text for secret in endpoint.secrets):
        return ""
    return format_one_line(text, _MOST_SAID)


_TRANSPORTS: Mapping[Transport, Callable[[Format, Outgoing, Way, str | None], Awaitable[Reply]]] = {
    "http": _send_http,
    "template": _send_rendered,
    "apprise": _send_apprise,
}
