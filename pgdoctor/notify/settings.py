"""The `[[notify]]` tables: the receivers of notifications, their events, and how long delivery is tried."""

from collections.abc import Collection, Iterator, Sequence
from typing import Annotated, Literal, get_args
from urllib.parse import urlsplit

import msgspec

from pgdoctor.fields import HIDDEN, Duration, Name, ValidationError
from pgdoctor.notify.formats import list_formats, load_format

EventName = Literal["started", "class_changed", "worsened", "ended"]
EVENTS: tuple[EventName, ...] = get_args(EventName)

#: Keys that say where to, and those that only some formats have.
_ADDRESSES = ("url", "url_file")
_FORMAT_KEYS = ("token_file", "routing_key_file", "api_key_file", "channel", "template_file", "content_type")

Channel = Annotated[
    str, msgspec.Meta(pattern=r"^[#@]?[^\s<>@#,]{1,80}\Z", description='a channel such as "C0123456789" or "#dba"')
]
ContentType = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^[a-z]+/[a-z0-9.+-]+(; ?charset=utf-8)?\Z",
        description='a media type such as "application/json" or "text/plain"',
    ),
]

URL = "http:// or https://, a host, and a path; without user name and password (use url_file or token_file)"


class Recipient(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One of `[[notify]]`. Exactly one of `url` and `url_file` says where to; some formats need neither."""

    #: What logs and metrics call it: its address may be a secret.
    name: Name
    url: str | None = None
    #: One line, read at the start and at SIGHUP; for addresses that are secrets themselves.
    url_file: str | None = None
    #: What is sent as `Authorization: Bearer …`.
    token_file: str | None = None
    #: One of `list_formats`.
    format: str = "json"
    #: The integration key of a service in PagerDuty, one line; for that format alone.
    routing_key_file: str | None = None
    #: The key of an API integration of Opsgenie, one line; for that format alone.
    api_key_file: str | None = None
    #: Where a bot of Slack posts; None: the address is that of an incoming webhook.
    channel: Channel | None = None
    #: A Jinja2 template, read at the start and at SIGHUP, and what it makes; None: JSON.
    template_file: str | None = None
    content_type: ContentType | None = None
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

    @property
    def given_keys(self) -> Collection[str]:
        """Which keys of an address and of single formats it has."""
        return [key for key in (*_ADDRESSES, *_FORMAT_KEYS) if getattr(self, key) is not None]


def find_recipient_mistakes(recipients: Sequence[Recipient]) -> Iterator[ValidationError]:
    """What is well formed and makes no sense. Keys are those below `notify`."""
    for place, each in enumerate(recipients):
        where = f"[{place}]"
        if each.name in (other.name for other in recipients[:place]):
            yield ValidationError(f"{where}.name", each.name, "a unique name")
        yield from _mistaken_format(where, each)
        if each.url is not None and not is_address(each.url):
            yield ValidationError(f"{where}.url", HIDDEN, URL)
        if not each.events:
            yield ValidationError(f"{where}.events", [], f"at least one of {', '.join(EVENTS)}")
        for key in ("timeout", "max_age", "first_pause", "max_pause", "breaker_pause"):
            if getattr(each, key) < 0.1:
                yield ValidationError(f"{where}.{key}", str(getattr(each, key)), "at least 100ms")


def _mistaken_format(where: str, each: Recipient) -> Iterator[ValidationError]:
    names = list_formats()
    if each.format not in names:
        allowed = ", ".join(f'"{name}"' for name in names)
        yield ValidationError(f"{where}.format", each.format, f"one of {allowed}")
        return
    kind = load_format(each.format)
    for mistake in kind.find_mistakes(each.given_keys):
        yield ValidationError(where, each.name, mistake)
    for key in each.given_keys:
        if key not in (*_ADDRESSES, *kind.needs, *kind.takes):
            takers = [name for name in names if key in (*load_format(name).needs, *load_format(name).takes)]
            formats = " or ".join(f'"{name}"' for name in takers)
            yield ValidationError(where, each.name, f"{key} only with format = {formats}")


def is_address(url: str) -> bool:
    """Whether it can be sent to as it is."""
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018
    except ValueError:
        return False
    plain = url.isascii() and url.isprintable() and " " not in url
    return plain and parts.scheme in ("http", "https") and bool(parts.hostname) and "@" not in parts.netloc
