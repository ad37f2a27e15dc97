"""Where a receiver is, with its secrets: read at the start and at SIGHUP, and never shown."""

from urllib.parse import urlsplit

import msgspec

from pgdoctor.errors import ConfigError
from pgdoctor.notify.settings import PAGERDUTY_URL, URL, Recipient, is_address
from pgdoctor.secret_file import read_secret


class Endpoint(msgspec.Struct, frozen=True):
    """A URL, and the bearer token or routing key that goes with it."""

    url: str
    token: str | None = None
    routing_key: str | None = None

    @property
    def host(self) -> str:
        """What may be said of it."""
        return urlsplit(self.url).hostname or ""

    @property
    def is_tls(self) -> bool:
        return self.url.startswith("https:")

    def add_routing_key(self, body: bytes) -> bytes:
        """The body as it is sent. Only here, so that no queue holds the secret, and a new key counts at once."""
        if self.routing_key is None:
            return body
        return b'{"routing_key":' + msgspec.json.encode(self.routing_key) + b"," + body[1:]

    def __repr__(self) -> str:
        """Nothing but the host: it may end up in a traceback."""
        return f"Address({self.host})"


def read_endpoint(recipient: Recipient, place: int) -> Endpoint:
    """Read the files of the recipient at a place of `[[notify]]`. Raises ConfigError, which quotes nothing of them."""
    where = f"notify[{place}]"
    given = PAGERDUTY_URL if recipient.url is None and recipient.format == "pagerduty" else recipient.url
    url = given if recipient.url_file is None else _read_line(f"{where}.url_file", recipient.url_file)
    if url is None or not is_address(url):
        raise ConfigError(f"{where}.url_file: {recipient.url_file}: expected one line: {URL}")
    token = _read_token(f"{where}.token_file", recipient.token_file)
    return Endpoint(url, token, _read_token(f"{where}.routing_key_file", recipient.routing_key_file))


def _read_token(key: str, path: str | None) -> str | None:
    if path is None:
        return None
    token = _read_line(key, path)
    if not (token and all("!" <= char <= "~" for char in token)):
        raise ConfigError(f"{key}: {path}: expected one line of printable ASCII characters, without spaces")
    return token


def _read_line(key: str, path: str) -> str:
    return read_secret(key, path).decode("latin-1").strip()
