"""What a configuration may say, and should not: secrets in clear text, and one secret for two purposes."""

from collections.abc import Iterator

from msgspec.structs import replace

from pgdoctor.config.config import Config
from pgdoctor.errors import ConfigError
from pgdoctor.notify.endpoint_files import read_endpoint
from pgdoctor.notify.settings import Recipient
from pgdoctor.secret_file import read_secret

#: Keys of a receiver that name a secret, and what it is.
_SECRETS = {"token_file": "bearer token", "routing_key_file": "routing key", "api_key_file": "API key"}

_LOOPBACK = ("127.", "[::1]", "localhost")


def find_exposed_secrets(config: Config) -> Iterator[str]:
    """One line for each; no secret is quoted. Files that cannot be read here are compared by their paths alone."""
    yield from _shared_tokens(config)
    http = config.http
    asks = [key for key in ("token_file", "basic_auth_file") if getattr(http, key)]
    if config.webhook.token_file:
        asks.append("webhook.token_file")
    if asks and http.tls_certificate is None and not config.agent.listen.startswith(_LOOPBACK):
        yield f"{asks[0]} without http.tls_certificate on {config.agent.listen}: the secret travels in clear text"
    for place, receiver in enumerate(config.notify):
        for key, secret in _SECRETS.items():
            if getattr(receiver, key) and _is_plain(receiver, place):
                yield f"notify[{place}].{key}: its url is plain http, so the {secret} travels in clear text"


def _shared_tokens(config: Config) -> Iterator[str]:
    files = {"http.token_file": config.http.token_file, "webhook.token_file": config.webhook.token_file}
    files |= {f"notify[{place}].token_file": each.token_file for place, each in enumerate(config.notify)}
    first: dict[str | bytes, str] = {}
    for key, path in files.items():
        if path is None:
            continue
        values: set[str | bytes] = {path, *_read_token(key, path)}
        if other := next((first[value] for value in values if value in first), None):
            yield f"{other} and {key} are the same token: one leak exposes both"
        first |= dict.fromkeys(values - first.keys(), key)


def _is_plain(receiver: Recipient, place: int) -> bool:
    without = replace(receiver, token_file=None, routing_key_file=None, api_key_file=None, template_file=None)
    try:
        return read_endpoint(without, place).url.lower().startswith("http://")
    except ConfigError:
        return False


def _read_token(key: str, path: str) -> set[str | bytes]:
    try:
        return {read_secret(key, path).strip()}
    except ConfigError:
        return set()
