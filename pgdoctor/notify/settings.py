"""The `[[notify]]` tables: the receivers of notifications, their events, and how long delivery is tried."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Literal, get_args
from urllib.parse import urlsplit

import msgspec

from pgdoctor.fields import HIDDEN, Duration, Name, ValidationError

EventName = Literal["started", "class_changed", "worsened", "ended"]
EVENTS: tuple[EventName, ...] = get_args(EventName)

#: What the body looks like; each has a file in `render`.
Format = Literal["json", "alertmanager", "slack", "pagerduty"]

#: Where PagerDuty takes events, unless an account is in another region.
PAGERDUTY_URL = "https://events.pagerduty.com/v2/enqueue"

URL = "http:// or https://, a host, and a path; without user name and password (use url_file or token_file)"


class Recipient(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One of `[[notify]]`. Exactly one of `url` and `url_file` says where to; PagerDuty needs neither."""

    #: What logs and metrics call it: its address may be a secret.
    name: Name
    url: str | None = None
    #: One line, read at the start and at SIGHUP; for addresses that are secrets themselves.
    url_file: str | None = None
    #: What is sent as `Authorization: Bearer …`.
    token_file: str | None = None
    format: Format = "json"
    #: The integration key of a service in PagerDuty, one line; for that format alone.
    routing_key_file: str | None = None
    events: tuple[EventName, ...] = EVENTS
    #: An incident that ends earlier is not notified; a longer one is notified at that age.
    min_duration: Duration = Duration(0)
    #: None: the server's name.
    service: str | None = None
    #: None: the namespace of the pod that the agent runs in, if it does.
    k8s_namespace: str | None = None
    #: What one attempt may take, from the host's name to the status of the answer.
    timeout: Duration = Duration(5)
    #: An event that was tried so often, or is so old, is given up.
    attempts: Annotated[int, msgspec.Meta(ge=1, le=1_000)] = 50
    max_age: Duration = Duration(3600)
    #: The pause after the n-th attempt is anything from 0 to the lesser of max_pause and first_pause * 2^(n-1).
    first_pause: Duration = Duration(1)
    max_pause: Duration = Duration(60)
    #: How long nothing is sent once half of the latest attempts have failed.
    breaker_pause: Duration = Duration(30)
    #: Events that wait; where there are more, the oldest is dropped.
    queue: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 100


def find_recipient_mistakes(recipients: Sequence[Recipient]) -> Iterator[ValidationError]:
    """What is well formed and makes no sense. Keys are those below `notify`."""
    for place, each in enumerate(recipients):
        where = f"[{place}]"
        if each.name in (other.name for other in recipients[:place]):
            yield ValidationError(f"{where}.name", each.name, "a unique name")
        yield from _mistaken_address(where, each)
        if each.url is not None and not is_address(each.url):
            yield ValidationError(f"{where}.url", HIDDEN, URL)
        if not each.events:
            yield ValidationError(f"{where}.events", [], f"at least one of {', '.join(EVENTS)}")
        for key in ("timeout", "max_age", "first_pause", "max_pause", "breaker_pause"):
            if getattr(each, key) < 0.1:
                yield ValidationError(f"{where}.{key}", str(getattr(each, key)), "at least 100ms")


def _mistaken_address(where: str, each: Recipient) -> Iterator[ValidationError]:
    missing, is_pagerduty = (each.url, each.url_file).count(None), each.format == "pagerduty"
    if is_pagerduty and missing == 0:
        yield ValidationError(where, each.name, "at most one of url and url_file")
    elif not is_pagerduty and missing != 1:
        yield ValidationError(where, each.name, "exactly one of url and url_file")
    if is_pagerduty and each.routing_key_file is None:
        yield ValidationError(where, each.name, 'routing_key_file, which format = "pagerduty" needs')
    if not is_pagerduty and each.routing_key_file is not None:
        yield ValidationError(where, each.name, 'routing_key_file only with format = "pagerduty"')


def is_address(url: str) -> bool:
    """Whether it can be sent to as it is."""
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018
    except ValueError:
        return False
    plain = url.isascii() and url.isprintable() and " " not in url
    return plain and parts.scheme in ("http", "https") and bool(parts.hostname) and "@" not in parts.netloc
