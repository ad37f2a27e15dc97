"""An incident as an Adaptive Card, for a webhook of Microsoft Teams made by Workflows.

All text is in text runs, in which Teams reads no Markdown; there is no list of mentions, so `<at>` mentions no person.
"""

from collections.abc import Iterator
from typing import Any

from pgdoctor.escape import encode_json
from pgdoctor.notify.format import Format, Outgoing, fit_value
from pgdoctor.render.notification import LINK_TEXT, Notification, list_facts, prefix_status, summarize_notification
from pgdoctor.render.plain import format_one_line

#: Bytes of a message.
_MOST_BYTES = 28_000

_COLOURS = {"critical": "attention", "warning": "warning"}


class Msteams(Format):
    """A card for each event: a webhook can change none, and reply to none."""

    takes = ()

    def render_event(self, said: Notification) -> tuple[Outgoing, ...]:
        return (Outgoing(encode_json(fit_value(lambda most: _build_message(said, most), _MOST_BYTES))),)


def _build_message(said: Notification, most: int) -> dict[str, Any]:
    card = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "msteams": {"width": "Full"},
        "body": list(_build_rows(said, most)),
    }
    if said.link is not None:
        card["actions"] = [{"type": "Action.OpenUrl", "title": LINK_TEXT, "url": said.link}]
    attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": card}
    return {"type": "message", "attachments": [attachment]}


def _build_rows(said: Notification, most: int) -> Iterator[dict[str, Any]]:
    colour = "good" if said.is_over else "default" if said.is_test else _COLOURS[said.alert.severity]
    summary = f"{prefix_status(said)}{summarize_notification(said)}"
    yield _build_row(_build_run(summary, weight="bolder", color=colour))
    for name, value in () if said.is_test else list_facts(said):
        yield _build_row(_build_run(f"{name}: ", isSubtle=True), _build_run(format_one_line(value, most)))


def _build_row(*runs: dict[str, Any]) -> dict[str, Any]:
    return {"type": "RichTextBlock", "spacing": "small", "inlines": list(runs)}


def _build_run(text: str, **style: Any) -> dict[str, Any]:
    return {"type": "TextRun", "text": text, **style}
