"""Reads where a receiver is, and its secrets, out of the files that its configuration names."""

from importlib.util import find_spec
from pathlib import Path

from pgdoctor.errors import ConfigError
from pgdoctor.notify.endpoint import JSON, Endpoint
from pgdoctor.notify.formats import load_format
from pgdoctor.notify.settings import URL, Recipient, is_address
from pgdoctor.secret_file import find_writers, read_secret

#: Bytes of a template.
_MOST_TEMPLATE = 256 * 1024

_APPRISE_URL = "one URL of Apprise, such as mailto://user:password@mail.example"


def read_endpoint(recipient: Recipient, place: int) -> Endpoint:
    """Read the files of the recipient at a place of `[[notify]]`. Raises ConfigError, which quotes nothing of them."""
    where = f"notify[{place}]"
    _require_package(where, recipient)
    return Endpoint(
        _read_url(where, recipient),
        _read_token(f"{where}.token_file", recipient.token_file),
        _read_token(f"{where}.routing_key_file", recipient.routing_key_file),
        _read_token(f"{where}.api_key_file", recipient.api_key_file),
        recipient.channel,
        read_template(recipient, place),
        recipient.content_type or JSON,
    )


def read_template(recipient: Recipient, place: int) -> str | None:
    """The text of its template; None: it has none. Raises ConfigError."""
    path = recipient.template_file
    if path is None:
        return None
    key = f"notify[{place}].template_file"
    try:
        # It decides what is sent with the receiver's secrets.
        if why := find_writers(Path(path).stat()):
            raise ConfigError(f"{key}: {path}: {why} {path}")
        with Path(path).open("rb") as file:
            text = file.read(_MOST_TEMPLATE + 1)
        if len(text) > _MOST_TEMPLATE:
            raise ConfigError(f"{key}: {path}: longer than {_MOST_TEMPLATE // 1024} kB")
        return text.decode("utf-8")
    except OSError as error:
        raise ConfigError(f"{key}: {path}: cannot be read: {error.strerror or error}") from None
    except ValueError:
        raise ConfigError(f"{key}: {path}: not UTF-8 text") from None


def _require_package(where: str, recipient: Recipient) -> None:
    package = load_format(recipient.format).package
    # Looked for, and not imported: that may take tens of megabytes.
    if package is not None and find_spec(package) is None:
        install = f'pip install "pgdoctor[{recipient.format}]"'
        raise ConfigError(f"{where}.format: {recipient.format} needs the package {package}: {install}")


def _read_url(where: str, recipient: Recipient) -> str:
    kind = load_format(recipient.format)
    given = kind.default_url(recipient.given_keys) if recipient.url is None else recipient.url
    url = given if recipient.url_file is None else _read_line(f"{where}.url_file", recipient.url_file)
    is_apprise = kind.transport == "apprise"
    if url is None or not (_is_apprise_url(url) if is_apprise else is_address(url)):
        wanted = _APPRISE_URL if is_apprise else URL
        raise ConfigError(f"{where}.url_file: {recipient.url_file}: expected one line: {wanted}")
    return url


def _is_apprise_url(url: str) -> bool:
    scheme, separator, _ = url.partition("://")
    return bool(separator and scheme.isidentifier()) and url.isascii() and url.isprintable() and " " not in url


def _read_token(key: str, path: str | None) -> str | None:
    if path is None:
        return None
    token = _read_line(key, path)
    if not (token and all("!" <= char <= "~" for char in token)):
        raise ConfigError(f"{key}: {path}: expected one line of printable ASCII characters, without spaces")
    return token


def _read_line(key: str, path: str) -> str:
    return read_secret(key, path).decode("latin-1").strip()
