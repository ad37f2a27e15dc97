"""Receivers that check a body as the real ones do, by their public documentation; a body with a mistake gets 400."""

import json
import re
import socket
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

from tests.notify.receiving import Receiving, answer

Check = Callable[[Any], Iterator[str]]


class StrictReceiver(Receiving):
    """Answers `status`, or 400 where the check finds a mistake in a body."""

    def __init__(self, check: Check, status: int) -> None:
        super().__init__(self._judge)
        self._check, self._status = check, status
        self.mistakes: list[str] = []

    def _judge(self, client: socket.socket) -> None:
        found = list(self._check(self.bodies[-1]))
        self.mistakes += found
        answer(400 if found else self._status)(client)


def slack() -> StrictReceiver:
    return StrictReceiver(check_slack, 200)


def pagerduty() -> StrictReceiver:
    return StrictReceiver(check_pagerduty, 202)


def alertmanager() -> StrictReceiver:
    return StrictReceiver(check_alertmanager, 200)


def check_alertmanager(body: Any) -> Iterator[str]:
    """`postableAlerts` of Alertmanager's OpenAPI description, and `Alert.Validate` of its model."""
    if not isinstance(body, list) or not body:
        yield "not an array of alerts"
        return
    for alert in body:
        yield from _unknown(alert, {"labels", "annotations", "startsAt", "endsAt", "generatorURL"})
        yield from _texts("label", alert.get("labels", {}))
        yield from _texts("annotation", alert.get("annotations", {}))
        if not alert.get("labels", {}).get("alertname"):
            yield "no alertname"
        moments = [datetime.fromisoformat(alert[key]) for key in ("startsAt", "endsAt") if key in alert]
        if any(each.tzinfo is None for each in moments):
            yield "a moment without an offset"
        if moments != sorted(moments):
            yield "start time must be before end time"


def _texts(kind: str, found: dict[str, Any]) -> Iterator[str]:
    for name, value in found.items():
        if not re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_]*", name) or name.startswith("__"):
            yield f"invalid {kind} name {name!r}"
        if not isinstance(value, str) or not value:
            yield f"{kind} {name} is not a text, or empty"


def check_pagerduty(body: Any) -> Iterator[str]:
    """Events API v2: `POST /v2/enqueue`."""
    own = {"routing_key", "event_action", "dedup_key", "payload", "client", "client_url", "links", "images"}
    yield from _unknown(body, own)
    if not re.fullmatch(r"[0-9a-zA-Z]{32}", str(body.get("routing_key"))):
        yield "Invalid routing key"
    if body.get("event_action") not in ("trigger", "acknowledge", "resolve"):
        yield "'event_action' is invalid"
    if not 1 <= len(body.get("dedup_key", "")) <= 255:
        yield "'dedup_key' is missing or too long"
    for link in body.get("links", []):
        if not str(link.get("href")).startswith(("http://", "https://")):
            yield "a link without an address"
    if body.get("event_action") == "trigger":
        yield from _payload(body.get("payload"))
    if len(json.dumps(body)) > 512 * 1024:
        yield "too large"


def _payload(payload: Any) -> Iterator[str]:
    if not isinstance(payload, dict):
        yield "'payload' is missing"
        return
    known = {"summary", "source", "severity", "timestamp", "component", "group", "class", "custom_details"}
    yield from _unknown(payload, known)
    if not 1 <= len(payload.get("summary", "")) <= 1024:
        yield "'payload.summary' is missing or too long"
    if not payload.get("source"):
        yield "'payload.source' is missing"
    if payload.get("severity") not in ("critical", "error", "warning", "info"):
        yield "'payload.severity' is invalid"
    if "timestamp" in payload:
        datetime.fromisoformat(payload["timestamp"])
    if not isinstance(payload.get("custom_details", {}), dict):
        yield "'payload.custom_details' is not an object"


def check_slack(body: Any) -> Iterator[str]:
    """Incoming webhooks, and Block Kit's sections and text objects."""
    yield from _unknown(body, {"text", "blocks", "mrkdwn"})
    if not body.get("text"):
        yield "no_text"
    yield from _control_characters(body["text"])
    if not 1 <= len(body["blocks"]) <= 50:
        yield "invalid_blocks: from 1 to 50"
    for block in body["blocks"]:
        yield from _unknown(block, {"type", "text", "fields"})
        if block["type"] != "section" or not ("text" in block or block.get("fields")):
            yield "invalid_blocks: not a section with a text or fields"
        if "text" in block:
            yield from _text_object(block["text"], 3000)
        if len(block.get("fields", [])) > 10:
            yield "invalid_blocks: more than 10 fields"
        for field in block.get("fields", []):
            yield from _text_object(field, 2000)


def _text_object(found: dict[str, Any], most: int) -> Iterator[str]:
    yield from _unknown(found, {"type", "text", "emoji"})
    if not 1 <= len(found["text"]) <= most:
        yield f"invalid_blocks: a text of {len(found['text'])} characters"
    if found["type"] == "plain_text":
        yield from _control_characters(found["text"])
    elif found["type"] != "mrkdwn" or "emoji" in found:
        yield "invalid_blocks: not a text object"


def _control_characters(text: str) -> Iterator[str]:
    """Slack takes what is not escaped; a reader of it could be mentioned."""
    if re.search(r"[<>]|&(?!(amp|lt|gt);)", text):
        yield f"not escaped: {text!r}"


def _unknown(found: dict[str, Any], known: set[str]) -> Iterator[str]:
    yield from (f"unknown field {each}" for each in found.keys() - known)
