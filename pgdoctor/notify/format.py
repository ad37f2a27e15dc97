"""What a format of `[[notify]]` is: how an event is written, signed with the secrets, and which answers are good.

Pure. One class a file in `formats`; the file's name is the format's. Bodies hold no secret until they are sent, so that
no queue does, and a new secret counts at once.
"""

from collections.abc import Callable, Collection, Iterator
from typing import Any, ClassVar, Literal, TypeVar

import msgspec

from pgdoctor.escape import encode_json
from pgdoctor.notify.endpoint import Endpoint
from pgdoctor.render.notification import Notification

#: How a request gets to its receiver: a POST; a POST of what a template makes; Apprise.
Transport = Literal["http", "template", "apprise"]

#: Answers of a receiver that may take it later: a timeout, too many requests, its own troubles.
LATER = (408, 429, *range(500, 600))

#: Characters of one text that are tried, until the whole fits its receiver.
_SIZES = (500, 200, 80, 20)

T = TypeVar("T")


class Outgoing(msgspec.Struct, frozen=True):
    """One request of an event, without secrets."""

    body: bytes
    #: Appended to the receiver's address.
    path: str = ""
    method: Literal["POST", "PUT"] = "POST"
    #: Messages of one incident have the same, where the receiver has threads.
    thread: str | None = None
    #: A reply is shown outside of its thread, too.
    is_broadcast: bool = False
    ends_thread: bool = False


class Request(msgspec.Struct, frozen=True):
    """One HTTP request as it is sent, secrets included."""

    url: str
    body: bytes
    headers: tuple[tuple[str, str], ...]
    method: str = "POST"

    def __repr__(self) -> str:
        """Nothing: it may end up in a traceback."""
        return "Request"


class Answer(msgspec.Struct, frozen=True):
    """The answer of a receiver. `retry_after`: seconds that it asks us to wait. `body`: its first bytes, if wanted."""

    status: int
    retry_after: float = 0.0
    body: bytes = b""


class Reply(msgspec.Struct, frozen=True):
    """What an answer means. `why` names no secret."""

    is_delivered: bool
    why: str
    may_work_later: bool = False
    retry_after: float = 0.0
    #: The status of the answer, if it is known.
    status: int | None = None
    #: What replies have to name, where the receiver has threads.
    thread: str | None = None
    #: The receiver's own words, for people who test it.
    said: str = ""


class Format:
    """A format. Keys are those of `[[notify]]` that only some formats have; `given` are the ones in the file."""

    #: Keys that it needs, and those that it takes beside them.
    needs: ClassVar[tuple[str, ...]] = ()
    takes: ClassVar[tuple[str, ...]] = ("token_file",)
    transport: ClassVar[Transport] = "http"
    #: What has to be installed, which an extra of the format's name does.
    package: ClassVar[str | None] = None
    #: It has to be notified again while an incident lasts.
    is_repeated: ClassVar[bool] = False
    #: Bytes of an answer's body that `read_answer` needs.
    most_answer: ClassVar[int] = 0

    def default_url(self, given: Collection[str]) -> str | None:  # noqa: ARG002
        """Where to without `url` and `url_file`; None: one of them is needed."""
        return None

    def render_event(self, said: Notification) -> tuple[Outgoing, ...]:
        """What is sent of an event, one after the other."""
        raise NotImplementedError

    def render_acknowledgement(self, server: str, incident: str) -> Outgoing | None:  # noqa: ARG002
        """What is sent once the agent has signalled a session of an incident; None: nothing."""
        return None

    def sign_body(self, part: Outgoing, endpoint: Endpoint, thread: str | None) -> bytes:  # noqa: ARG002
        """The body with secrets. `thread` is what the receiver called the thread, None: there is none yet."""
        return part.body

    def authorize(self, endpoint: Endpoint) -> str | None:
        """The value of the header `Authorization`; None: it has none."""
        return None if endpoint.token is None else f"Bearer {endpoint.token}"

    def read_answer(self, answer: Answer, endpoint: Endpoint) -> Reply:  # noqa: ARG002
        """What an answer means: any 2xx is a delivery, and what may pass is tried again."""
        is_delivered = 200 <= answer.status < 300
        why = f"the receiver answered {answer.status}"
        return Reply(is_delivered, why, answer.status in LATER, answer.retry_after, answer.status)

    def make_request(self, part: Outgoing, endpoint: Endpoint, thread: str | None = None) -> Request:
        """The request with everything."""
        header = self.authorize(endpoint)
        headers = (("Content-Type", endpoint.content_type), *((("Authorization", header),) if header else ()))
        return Request(_join_url(endpoint.url, part.path), self.sign_body(part, endpoint, thread), headers, part.method)

    def find_mistakes(self, given: Collection[str]) -> Iterator[str]:
        """What is needed instead of the keys in the file; `url` and `url_file` are among them."""
        name = self.name
        addresses = [key for key in ("url", "url_file") if key in given]
        if self.default_url(given) is not None:
            if len(addresses) == 2:
                yield "at most one of url and url_file"
        elif len(addresses) != 1:
            yield "exactly one of url and url_file"
        yield from (f'{key}, which format = "{name}" needs' for key in self.needs if key not in given)

    @property
    def name(self) -> str:
        """That of its file."""
        return type(self).__module__.rpartition(".")[2]


def _join_url(url: str, path: str) -> str:
    """A URL with more of a path, which may have a query as the URL may."""
    if not path:
        return url
    (address, _, query), (more, _, own) = url.partition("?"), path.partition("?")
    return address.rstrip("/") + more + "?" + "&".join(filter(None, (query, own)))


def add_fields(body: bytes, **fields: Any) -> bytes:
    """A JSON object with more fields in front."""
    return encode_json(fields)[:-1] + b"," + body[1:]


def fit_value(build: Callable[[int], T], most: int) -> T:
    """What `build` makes of the most characters of one text, so that it takes at most so many bytes as JSON."""
    return next((fits for size in _SIZES if len(encode_json(fits := build(size))) <= most), build(1))
