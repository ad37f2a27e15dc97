"""One notification, sent once and not repeated: to see whether a receiver takes it."""

import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import msgspec

from pgdoctor.notify.endpoint import JSON, Endpoint
from pgdoctor.notify.endpoint_files import read_template
from pgdoctor.notify.format import Reply
from pgdoctor.notify.formats import load_format
from pgdoctor.notify.http_post import Unanswered
from pgdoctor.notify.settings import Recipient
from pgdoctor.notify.transports import Way, render_body, send_part
from pgdoctor.render.notification import Notification, make_test_notification

#: What may be wrong, by the status of an answer.
_HINTS = {
    400: "it does not accept this format: see format in [[notify]]",
    401: "see the file with the token or key",
    403: "see the file with the token or key, or the address",
    404: "see the address",
    405: "see the address",
    410: "the address is no longer valid",
    415: "it does not accept this format: see format in [[notify]]",
    429: "too many requests: try again later",
}

#: Bytes of an answer that are read for people.
_MOST_SAID = 2_000


async def send_test(recipient: Recipient, endpoint: Endpoint, external_url: str | None) -> tuple[bool, str]:
    """Whether the receiver took a test notification, and its answer in words that name no secret."""
    kind = load_format(recipient.format)
    tls = ssl.create_default_context() if endpoint.is_tls else None
    way = Way(endpoint, recipient.timeout, tls, _MOST_SAID)
    reply = Reply(False, "there is nothing to send")
    for part in kind.render_event(_make_test(recipient, external_url)):
        try:
            reply = await send_part(kind, part, way)
        except Unanswered as error:
            return False, str(error)
        if not reply.is_delivered:
            break
    return reply.is_delivered, _describe_reply(reply)


def _describe_reply(reply: Reply) -> str:
    if reply.is_delivered:
        return reply.why
    hint = f": {_HINTS[reply.status]}" if reply.status in _HINTS else ""
    return f"{reply.why}{hint}{f'; it says: {reply.said}' if reply.said else ''}"


async def show_test(recipient: Recipient, place: int, external_url: str | None) -> AsyncIterator[str]:
    """The bodies of a test notification; none is sent, and no secret is read.

    Raises ConfigError for a template that cannot be read, and ValueError for one that makes nothing.
    """
    kind = load_format(recipient.format)
    made_of = Endpoint("", template=read_template(recipient, place), content_type=recipient.content_type or JSON)
    for part in kind.render_event(_make_test(recipient, external_url)):
        made = await render_body(kind, part, made_of)
        if made.mistake is not None:
            raise ValueError(made.mistake)
        yield _indent_json(made.body)


def _make_test(recipient: Recipient, external_url: str | None) -> Notification:
    return make_test_notification(datetime.now(UTC), recipient.service, external_url)


def _indent_json(body: str) -> str:
    try:
        return msgspec.json.format(body, indent=2)
    except msgspec.DecodeError:
        return body
