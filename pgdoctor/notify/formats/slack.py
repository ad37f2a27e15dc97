"""An incident as messages of Slack: of an incoming webhook, or of a bot, which can reply in a thread.

All text is in `plain_text` elements, in which Slack reads no mrkdwn, and `&`, `<` and `>` are escaped everywhere: so no
name that a client chose becomes a mention or a link. The one link is ours, from `external_url`.
"""

from collections.abc import Collection, Iterator
from typing import Any

import msgspec

from pgdoctor.escape import encode_json
from pgdoctor.notify.endpoint import Endpoint
from pgdoctor.notify.format import Answer, Format, Outgoing, Reply, add_fields
from pgdoctor.render.notification import LINK_TEXT, Notification, list_facts, prefix_status, summarize_notification

#: Where a bot posts.
_URL = "https://slack.com/api/chat.postMessage"

#: Characters of a text in a section, and of one of its fields; fields in a section.
_MOST_TEXT = 3_000
_MOST_FIELD = 2_000
_MOST_FIELDS = 10

#: What a bot's message may be refused for, and not the next time.
_LATER = ("internal_error", "fatal_error", "service_unavailable", "request_timeout", "ratelimited", "rate_limited")

_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


class _BotAnswer(msgspec.Struct):
    """The answer of `chat.postMessage`, which has the status 200 for errors, too."""

    ok: bool
    error: str = ""
    ts: str | None = None


class Slack(Format):
    """Sections in plain text. With `channel` a bot sends them, and what follows on an incident replies to its start."""

    takes = ("token_file", "channel")
    most_answer = 64 * 1024

    def default_url(self, given: Collection[str]) -> str | None:
        return _URL if "channel" in given else None

    def find_mistakes(self, given: Collection[str]) -> Iterator[str]:
        yield from super().find_mistakes(given)
        if "channel" in given and "token_file" not in given:
            yield "token_file with the bot's token, which channel needs"

    def render_event(self, said: Notification) -> tuple[Outgoing, ...]:
        is_loud = said.event.kind in ("worsened", "ended")
        thread = f"{said.server}/{said.alert.alert_id}"
        body = encode_json(_build_message(said))
        return (Outgoing(body, thread=thread, is_broadcast=is_loud, ends_thread=said.is_over),)

    def sign_body(self, part: Outgoing, endpoint: Endpoint, thread: str | None) -> bytes:
        if endpoint.channel is None:
            return part.body
        body = add_fields(part.body, channel=endpoint.channel)
        return body if thread is None else add_fields(body, thread_ts=thread, reply_broadcast=part.is_broadcast)

    def read_answer(self, answer: Answer, endpoint: Endpoint) -> Reply:
        if endpoint.channel is None or not 200 <= answer.status < 300:
            return super().read_answer(answer, endpoint)
        try:
            said = msgspec.json.decode(answer.body, type=_BotAnswer)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return Reply(False, "its answer is not that of chat.postMessage: see url")
        if said.ok:
            return Reply(True, "the receiver took it", thread=said.ts)
        code = said.error if said.error.isascii() and said.error.isidentifier() else "an error"
        return Reply(False, f"the receiver answered {code[:50]}", said.error in _LATER)


def _build_message(said: Notification) -> dict[str, Any]:
    """`text` for notifications on a screen, `blocks` for the channel."""
    summary = f"{prefix_status(said)}{summarize_notification(said)}"
    text = escape_slack(summary, _MOST_TEXT)
    unfurl = {"unfurl_links": False, "unfurl_media": False}
    return {"text": text, "mrkdwn": False, **unfurl, "blocks": list(_build_blocks(said, summary))}


def _build_blocks(said: Notification, summary: str) -> Iterator[dict[str, Any]]:
    yield {"type": "section", "text": _build_plain_text(summary, _MOST_TEXT)}
    fields = [_build_plain_text(f"{name}: {value}", _MOST_FIELD) for name, value in list_facts(said)]
    for first in range(0, 0 if said.is_test else len(fields), _MOST_FIELDS):
        yield {"type": "section", "fields": fields[first : first + _MOST_FIELDS]}
    if said.link is not None:
        link = f"<{escape_slack(said.link, _MOST_TEXT - 100).replace('|', '%7C')}|{LINK_TEXT}>"
        yield {"type": "section", "text": {"type": "mrkdwn", "text": link}}


def escape_slack(text: str, most: int) -> str:
    """`text` with Slack's three control characters as entities, in at most `most` characters and no half entity."""
    parts, length = [], 0
    for char in text:
        part = _ENTITIES.get(char, char)
        length += len(part)
        if length > most:
            break
        parts.append(part)
    return "".join(parts)


def _build_plain_text(text: str, most: int) -> dict[str, Any]:
    # Without emoji: `:name:` stays as a client wrote it.
    return {"type": "plain_text", "text": escape_slack(text, most), "emoji": False}
