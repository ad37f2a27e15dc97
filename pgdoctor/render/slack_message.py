"""A notification as a message for an incoming webhook of Slack.

All text is in `plain_text` elements, in which Slack reads no mrkdwn, and `&`, `<` and `>` are escaped everywhere: so no
name that a client chose becomes a mention or a link. The one link is ours, from `external_url`.
"""

from typing import Any

from pgdoctor.escape import encode_json
from pgdoctor.render.notification import Notification, list_facts, summarize_notification

#: Characters of a text in a section, and of one of its fields; fields in a section.
_MOST_TEXT = 3_000
_MOST_FIELD = 2_000
_MOST_FIELDS = 10

_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def render_slack(said: Notification) -> bytes:
    """The body of the POST: `text` for notifications on a screen, `blocks` for the channel."""
    summary = f"{_format_prefix(said)}{summarize_notification(said)}"
    blocks: list[dict[str, Any]] = [{"type": "section", "text": _build_plain_text(summary, _MOST_TEXT)}]
    fields = [_build_plain_text(f"{name}: {value}", _MOST_FIELD) for name, value in list_facts(said)]
    if not said.is_test:
        parts = [fields[first : first + _MOST_FIELDS] for first in range(0, len(fields), _MOST_FIELDS)]
        blocks += [{"type": "section", "fields": each} for each in parts]
    if said.link is not None:
        link = f"<{escape_slack(said.link, _MOST_TEXT).replace('|', '%7C')}|Page of the server>"
        blocks.append({"type": "section", "text": {"type": "mrkdwn", "text": link}})
    return encode_json({"text": escape_slack(summary, _MOST_TEXT), "mrkdwn": False, "blocks": blocks})


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


def _format_prefix(said: Notification) -> str:
    if said.is_test:
        return ""
    return "[resolved] " if said.is_over else f"[{said.alert.severity}] "
