"""One notification, sent once and not repeated: to see whether a receiver takes it."""

import ssl
from datetime import UTC, datetime

from pgdoctor.notify.endpoint import Endpoint
from pgdoctor.notify.http_post import Unanswered, post_json
from pgdoctor.notify.settings import Recipient
from pgdoctor.render.notification import make_test_notification
from pgdoctor.render.notification_formats import render_notification

#: What may be wrong, by the status of an answer.
_HINTS = {
    400: "it does not accept this format: see format in [[notify]]",
    401: "see token_file",
    403: "see token_file, or the address",
    404: "see the address",
    405: "see the address",
    410: "the address is no longer valid",
    415: "it does not accept this format: see format in [[notify]]",
    429: "too many requests: try again later",
}


async def send_test(recipient: Recipient, endpoint: Endpoint, external_url: str | None) -> tuple[bool, str]:
    """Whether the receiver took a test notification, and its answer in words that name no secret."""
    said = make_test_notification(datetime.now(UTC), recipient.service, external_url)
    body = endpoint.add_routing_key(render_notification(said, recipient.format))
    tls = ssl.create_default_context() if endpoint.is_tls else None
    try:
        answer = await post_json(endpoint, body, recipient.timeout, tls)
    except Unanswered as error:
        return False, str(error)
    hint = _HINTS.get(answer.status)
    return 200 <= answer.status < 300, f"the receiver answered {answer.status}{f': {hint}' if hint else ''}"
