"""Receivers that check a request as the real ones do, by their public documentation; a request with a mistake fails."""

import json
import re
import socket
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, ClassVar

from tests.notify import receiver_schemas as schemas
from tests.notify.receiver_schemas import find_mistakes
from tests.notify.receiving import Receiving, answer, answer_json

KEY = "0123456789abcdef0123456789abcdef"
TOKEN = "xoxb-token-of-the-test-zq7"


class StrictReceiver(Receiving):
    """Answers `status`, or 400 where the check finds a mistake in a body."""

    def __init__(self, check: Callable[[Any], Iterator[str]], status: int) -> None:
        super().__init__(self._judge)
        self._check, self._status = check, status
        self.mistakes: list[str] = []

    @property
    def request(self) -> tuple[str, str, dict[str, str]]:
        """Method, target and headers of the latest request."""
        first, *lines = self.heads[-1].split("\r\n")
        method, target, _ = first.split(" ")
        return method, target, {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}

    def _judge(self, client: socket.socket) -> None:
        found = [*self._check(self.bodies[-1]), *find_unprintable(self.bodies[-1])]
        self.mistakes += found
        answer(400 if found else self._status)(client)


def find_unprintable(body: Any) -> Iterator[str]:
    """Control and format characters, and those that change the direction of text; line ends are ours."""
    if isinstance(body, str):
        yield from (f"a control character: {char!r}" for char in body.replace("\n", "") if not char.isprintable())
    elif isinstance(body, dict | list):
        for each in body.values() if isinstance(body, dict) else body:
            yield from find_unprintable(each)


def alertmanager() -> StrictReceiver:
    return StrictReceiver(check_alertmanager, 200)


def check_alertmanager(body: Any) -> Iterator[str]:
    """Its schema, and `Alert.Validate` of its model."""
    yield from find_mistakes(body, schemas.ALERTMANAGER)
    for alert in body if isinstance(body, list) else ():
        moments = [datetime.fromisoformat(alert[key]) for key in ("startsAt", "endsAt") if key in alert]
        if any(each.tzinfo is None for each in moments):
            yield "a moment without an offset"
        if moments != sorted(moments):
            yield "start time must be before end time"


def pagerduty() -> StrictReceiver:
    return StrictReceiver(check_pagerduty, 202)


def check_pagerduty(body: Any) -> Iterator[str]:
    """Events API v2: `POST /v2/enqueue`."""
    yield from find_mistakes(body, schemas.PAGERDUTY)
    if len(json.dumps(body)) > 512 * 1024:
        yield "too large"


def slack() -> StrictReceiver:
    return StrictReceiver(check_slack, 200)


def check_slack(body: Any) -> Iterator[str]:
    yield from find_mistakes(body, schemas.SLACK_WEBHOOK)


class SlackBot(StrictReceiver):
    """`chat.postMessage`: it answers 200 whatever it says, and knows the threads that it began."""

    def __init__(self) -> None:
        super().__init__(lambda body: find_mistakes(body, schemas.SLACK_BOT), 200)
        self.url = f"http://127.0.0.1:{self.port}/api/chat.postMessage"
        #: The messages by what they are called.
        self.messages: dict[str, Any] = {}

    def _judge(self, client: socket.socket) -> None:
        body, (method, target, headers) = self.bodies[-1], self.request
        found = [*self._check(body), *find_unprintable(body)]
        if headers.get("authorization") != f"Bearer {TOKEN}":
            found.append("invalid_auth")
        if (method, target) != ("POST", "/api/chat.postMessage"):
            found.append("unknown_method")
        if not str(body.get("channel")).startswith(("C", "#")):
            found.append("channel_not_found")
        if body.get("thread_ts", next(iter(self.messages), None)) not in (None, *self.messages):
            found.append("invalid_thread_ts")
        self.mistakes += found
        if found:
            error = found[-1] if found[-1].isidentifier() else "invalid_blocks"
            answer_json(200, {"ok": False, "error": error})(client)
            return
        name = f"17000000{len(self.messages):02}.000100"
        self.messages[name] = body
        answer_json(200, {"ok": True, "channel": "C0123456789", "ts": name, "message": body})(client)


class Opsgenie(StrictReceiver):
    """The Alert API: it answers 202, and an alert is open from its creation until it is closed."""

    _CHANGES: ClassVar[Any] = {
        ("POST", "close"): schemas.OPSGENIE_CHANGE,
        ("POST", "acknowledge"): schemas.OPSGENIE_CHANGE,
        ("POST", "notes"): schemas.OPSGENIE_NOTE,
        ("PUT", "priority"): schemas.OPSGENIE_PRIORITY,
    }

    def __init__(self) -> None:
        super().__init__(lambda _: iter(()), 202)
        self.url = f"http://127.0.0.1:{self.port}/v2/alerts"
        #: What was done to each alert, by its alias.
        self.done: dict[str, list[str]] = {}
        self.open: set[str] = set()

    def _judge(self, client: socket.socket) -> None:
        found = [*self._find_mistakes(), *find_unprintable(self.bodies[-1])]
        self.mistakes += found
        said = {"message": found[0]} if found else {"result": "Request will be processed"}
        answer_json(422 if found else 202, said | {"took": 0.1, "requestId": "43a29c5c"})(client)

    def _find_mistakes(self) -> Iterator[str]:
        body, (method, target, headers) = self.bodies[-1], self.request
        if headers.get("authorization") != f"GenieKey {KEY}":
            yield "Could not authenticate"
        if (method, target) == ("POST", "/v2/alerts"):
            yield from find_mistakes(body, schemas.OPSGENIE_ALERT)
            if sum(len(name) + len(value) for name, value in body["details"].items()) > 8_000:
                yield "Details cannot be more than 8000 characters"
            self.done.setdefault(body["alias"], []).append("create")
            self.open.add(body["alias"])
            return
        change = re.fullmatch(r"/v2/alerts/([^/?]+)/([a-z]+)\?identifierType=alias", target)
        schema = change and self._CHANGES.get((method, change[2]))
        if not change or schema is None:
            yield f"no such request: {method} {target}"
            return
        yield from find_mistakes(body, schema)
        if change[1] not in self.open:
            yield "no such alert is open"
        self.done.setdefault(change[1], []).append(change[2])
        if change[2] == "close":
            self.open.discard(change[1])


def msteams() -> StrictReceiver:
    return StrictReceiver(check_msteams, 202)


def check_msteams(body: Any) -> Iterator[str]:
    yield from find_mistakes(body, schemas.MSTEAMS)
    if len(json.dumps(body, ensure_ascii=False).encode()) > 28 * 1024:
        yield "Webhook message delivery failed: RequestEntityTooLarge"
