"""Whether an agent could start here: the files that its configuration names, each tried as the agent reads it."""

from collections.abc import Callable, Iterator
from functools import partial

from pgdoctor.agent.http.auth import load_access
from pgdoctor.config.config import Config, HttpSettings, WebhookSettings
from pgdoctor.errors import ConfigError
from pgdoctor.notify.endpoint_files import read_endpoint


def unusable_files(config: Config) -> Iterator[str]:
    """What is wrong with each, in one line that names its key."""
    for use in _list_uses(config):
        try:
            use()
        except ConfigError as error:
            yield str(error)


def _list_uses(config: Config) -> Iterator[Callable[[], object]]:
    http = config.http
    yield partial(load_access, HttpSettings(tls_certificate=http.tls_certificate, tls_key=http.tls_key))
    yield partial(load_access, HttpSettings(token_file=http.token_file))
    yield partial(load_access, HttpSettings(basic_auth_file=http.basic_auth_file))
    yield partial(load_access, HttpSettings(), WebhookSettings(token_file=config.webhook.token_file))
    for place, recipient in enumerate(config.notify):
        yield partial(read_endpoint, recipient, place)
