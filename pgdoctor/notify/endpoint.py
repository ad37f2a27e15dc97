"""Where a receiver is, with its secrets and what else its files say: never shown."""

from urllib.parse import urlsplit

import msgspec

#: What is sent, where nothing else is said.
JSON = "application/json"


class Endpoint(msgspec.Struct, frozen=True):
    """A URL, and what goes with it."""

    url: str
    #: Sent as `Authorization: Bearer …`.
    token: str | None = None
    #: Of PagerDuty.
    routing_key: str | None = None
    #: Of Opsgenie.
    api_key: str | None = None
    #: Of Slack, for a message by a bot.
    channel: str | None = None
    #: A Jinja2 template, and what it makes.
    template: str | None = None
    content_type: str = JSON

    @property
    def host(self) -> str:
        """What may be said of it: of an URL of Apprise the kind of service alone, for its host may be a token."""
        parts = urlsplit(self.url)
        return (parts.hostname or "") if parts.scheme in ("http", "https") else parts.scheme

    @property
    def is_tls(self) -> bool:
        return self.url.startswith("https:")

    @property
    def secrets(self) -> tuple[str, ...]:
        """What no text for people may contain."""
        parts = urlsplit(self.url)
        hidden = (self.token, self.routing_key, self.api_key, parts.path.strip("/"), parts.query, parts.password)
        return tuple(each for each in hidden if each)

    def __repr__(self) -> str:
        """Nothing but the host: it may end up in a traceback."""
        return f"Address({self.host})"
