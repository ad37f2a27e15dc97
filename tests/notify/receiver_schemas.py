"""What the receivers take, as JSON Schemas by their public documentation.

- Alertmanager: `postableAlerts` of its OpenAPI description.
- PagerDuty: Events API v2, "Send an alert event".
- Opsgenie: Alert API, "Create Alert", "Close Alert", "Acknowledge Alert", "Add Note", "Update Alert Priority".
- Slack: "Sending messages using incoming webhooks", `chat.postMessage`, and Block Kit's sections and text objects.
- Microsoft Teams: "Create incoming webhooks with Workflows", and the elements in use of Adaptive Cards 1.4.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker


def text(most: int | None = None) -> dict[str, Any]:
    """A text that is not empty."""
    found: dict[str, Any] = {"type": "string", "minLength": 1}
    return found if most is None else found | {"maxLength": most}


def record(required: Sequence[str], **properties: Any) -> dict[str, Any]:
    """An object with these properties and no others."""
    return {"type": "object", "required": list(required), "properties": properties, "additionalProperties": False}


def array(items: Any, fewest: int = 1, most: int = 1_000) -> dict[str, Any]:
    return {"type": "array", "items": items, "minItems": fewest, "maxItems": most}


MOMENT = {"type": "string", "format": "date-time"}
ADDRESS = {"type": "string", "pattern": r"^https?://[^\s<>|]+$"}

_LABELS = {
    "type": "object",
    "propertyNames": {"pattern": "^(?!__)[a-zA-Z_][a-zA-Z0-9_]*$"},
    "additionalProperties": text(),
}
ALERTMANAGER = array(
    record(
        ["labels"],
        labels=_LABELS | {"required": ["alertname"]},
        annotations=_LABELS,
        startsAt=MOMENT,
        endsAt=MOMENT,
        generatorURL=ADDRESS,
    )
)

_KEY = {"type": "string", "pattern": "^[0-9a-zA-Z]{32}$"}
_PAYLOAD = record(
    ["summary", "source", "severity"],
    summary=text(1024),
    source=text(),
    severity={"enum": ["critical", "error", "warning", "info"]},
    timestamp=MOMENT,
    component={"type": "string"},
    group={"type": "string"},
    custom_details={"type": "object"},
) | {"additionalProperties": False}
_PAYLOAD["properties"]["class"] = {"type": "string"}
PAGERDUTY = {
    "oneOf": [
        record(
            ["routing_key", "event_action", "payload"],
            routing_key=_KEY,
            event_action={"const": "trigger"},
            dedup_key=text(255),
            payload=_PAYLOAD,
            client={"type": "string"},
            client_url=ADDRESS,
            links={"type": "array", "items": record(["href"], href=ADDRESS, text={"type": "string"})},
            images={"type": "array"},
        ),
        record(
            ["routing_key", "event_action", "dedup_key"],
            routing_key=_KEY,
            event_action={"enum": ["acknowledge", "resolve"]},
            dedup_key=text(255),
        ),
    ]
}

OPSGENIE_ALERT = record(
    ["message"],
    message=text(130),
    alias=text(512),
    description=text(15_000),
    responders={"type": "array", "maxItems": 50},
    actions=array(text(50), 0, 10),
    tags=array(text(50), 0, 20),
    details={"type": "object", "additionalProperties": {"type": "string"}},
    entity=text(512),
    source=text(100),
    priority={"enum": ["P1", "P2", "P3", "P4", "P5"]},
    user=text(100),
    note=text(25_000),
)
OPSGENIE_CHANGE = record([], user=text(100), source=text(100), note=text(25_000))
OPSGENIE_NOTE = OPSGENIE_CHANGE | {"required": ["note"]}
OPSGENIE_PRIORITY = record(["priority"], priority={"enum": ["P1", "P2", "P3", "P4", "P5"]})

#: What is not escaped Slack takes, too: a reader of it could be mentioned.
_ESCAPED = r"^([^<>&]|&(amp|lt|gt);)*$"
_OWN_LINK = r"^<https?://[^\s<>|]+\|[A-Za-z ]+>$"


def _plain_text(most: int) -> dict[str, Any]:
    return record(
        ["type", "text"], type={"const": "plain_text"}, text=text(most) | {"pattern": _ESCAPED}, emoji={"const": False}
    )


_MRKDWN = record(["type", "text"], type={"const": "mrkdwn"}, text=text(3000) | {"pattern": _OWN_LINK})
_SECTION = record(
    ["type"],
    type={"const": "section"},
    text={"oneOf": [_plain_text(3000), _MRKDWN]},
    fields=array(_plain_text(2000), 1, 10),
    block_id=text(255),
) | {"anyOf": [{"required": ["text"]}, {"required": ["fields"]}]}
_MESSAGE = {
    "text": text(40_000) | {"pattern": _ESCAPED},
    "blocks": array(_SECTION, 1, 50),
    "mrkdwn": {"const": False},
    "unfurl_links": {"const": False},
    "unfurl_media": {"const": False},
}
SLACK_WEBHOOK = record(["text"], **_MESSAGE)
SLACK_BOT = record(
    ["channel", "text"],
    **_MESSAGE,
    channel=text(80),
    thread_ts={"type": "string", "pattern": r"^\d+\.\d{6}$"},
    reply_broadcast={"type": "boolean"},
)

_COLOUR = {"enum": ["default", "dark", "light", "accent", "good", "warning", "attention"]}
_RUN = record(
    ["type", "text"],
    type={"const": "TextRun"},
    text=text(),
    color=_COLOUR,
    isSubtle={"type": "boolean"},
    weight={"enum": ["default", "lighter", "bolder"]},
    size={"enum": ["default", "small", "medium", "large", "extraLarge"]},
)
_BLOCK = record(
    ["type", "inlines"],
    type={"const": "RichTextBlock"},
    inlines=array(_RUN),
    spacing={"enum": ["default", "none", "small", "medium", "large", "extraLarge", "padding"]},
)
_CARD = record(
    ["type", "version", "body"],
    type={"const": "AdaptiveCard"},
    version={"enum": ["1.2", "1.3", "1.4", "1.5"]},
    body=array(_BLOCK),
    actions=array(
        record(["type", "url"], type={"const": "Action.OpenUrl"}, title=text(), url=ADDRESS),
        most=6,
    ),
    msteams=record([], width={"const": "Full"}),
)
_CARD["properties"]["$schema"] = {"const": "http://adaptivecards.io/schemas/adaptive-card.json"}
MSTEAMS = record(
    ["type", "attachments"],
    type={"const": "message"},
    attachments=array(
        record(
            ["contentType", "content"],
            contentType={"const": "application/vnd.microsoft.card.adaptive"},
            contentUrl={"type": "null"},
            content=_CARD,
        ),
        most=1,
    ),
)


def find_mistakes(body: Any, schema: Any) -> Iterator[str]:
    """What a receiver would complain of; the mistake in the depth, and not that one of several has to hold."""
    for error in Draft202012Validator(schema, format_checker=FormatChecker()).iter_errors(body):
        yield f"{error.json_path}: {error.message[:300]}"
