"""Whether an agent could start here: the files that its configuration names, each tried as the agent reads it."""

from collections.abc import Callable, Iterator
from functools import partial

from pgdoctor.agent.access import load_access
from pgdoctor.config import Config, Http, Webhook
from pgdoctor.errors import ConfigError
from pgdoctor.notify.address import address


def unusable_files(config: Config) -> Iterator[str]:
    """What is wrong with each, in one line that names its key."""
    for use in _uses(config):
        try:
            use()
        except ConfigError as error:
            yield str(error)


def _uses(config: Config) -> Iterator[Callable[[], object]]:
    http = config.http
    yield partial(load_access, Http(tls_certificate=http.tls_certificate, tls_key=http.tls_key))
    yield partial(load_access, Http(token_file=http.token_file))
    yield partial(load_access, Http(basic_auth_file=http.basic_auth_file))
    yield partial(load_access, Http(), Webhook(token_file=config.webhook.token_file))
    for place, recipient in enumerate(config.notify):
        yield partial(address, recipient, place)
