"""Where a receiver is, with its secrets: read at the start and at SIGHUP, and never shown."""

from urllib.parse import urlsplit

import msgspec

from pgdoctor.errors import ConfigError
from pgdoctor.notify.settings import URL, Recipient, is_address
from pgdoctor.secret_file import read_secret


class Endpoint(msgspec.Struct, frozen=True):
    """A URL, and the bearer token that goes with it."""

    url: str
    token: str | None = None

    @property
    def host(self) -> str:
        """What may be said of it."""
        return urlsplit(self.url).hostname or ""

    @property
    def is_tls(self) -> bool:
        return self.url.startswith("https:")

    def __repr__(self) -> str:
        """Nothing but the host: it may end up in a traceback."""
        return f"Address({self.host})"


def read_endpoint(recipient: Recipient, place: int) -> Endpoint:
    """Read the files of the recipient at a place of `[[notify]]`. Raises ConfigError, which quotes nothing of them."""
    where = f"notify[{place}]"
    url = recipient.url if recipient.url_file is None else _line(f"{where}.url_file", recipient.url_file)
    if url is None or not is_address(url):
        raise ConfigError(f"{where}.url_file: {recipient.url_file}: expected one line: {URL}")
    token = _line(f"{where}.token_file", recipient.token_file) if recipient.token_file is not None else None
    if token is not None and not (token and all("!" <= char <= "~" for char in token)):
        raise ConfigError(
            f"{where}.token_file: {recipient.token_file}: expected one line of printable ASCII characters, "
            "without spaces"
        )
    return Endpoint(url, token)


def _line(key: str, path: str) -> str:
    return read_secret(key, path).decode("latin-1").strip()
