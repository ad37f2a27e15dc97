"""Who may ask over HTTP: the files of the `[http]` table, and the gate in front of the endpoints.

The files are read at the start and at SIGHUP, all of them or none: a broken one leaves what was there before in force.
"""

import base64
import binascii
import hmac
import ipaddress
import os
import re
import socket
import ssl
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

import msgspec
from starlette.types import ASGIApp, Receive, Scope, Send

from pgdoctor.agent.http.rejections import RejectionCounter
from pgdoctor.config.config import HttpSettings, WebhookSettings
from pgdoctor.errors import ConfigError
from pgdoctor.secret_file import read_secret

#: Characters of a token or password: what cannot be guessed over a network.
_SHORTEST_SECRET = 16

#: Answered without authentication: it only says that the process is alive.
_OPEN_PATH = "/health"

#: These need a bearer token, even where reading needs none: no browser sends one by itself. For each what is
#: said where no token is configured.
WEBHOOK, DISARM = "/webhook", "/mitigation/disarm"
_CLOSED = {
    WEBHOOK: (404, b'{"error":"the webhook is off: set token_file under [webhook]"}'),
    DISARM: (403, b'{"error":"this needs a bearer token: set token_file under [http]"}'),
}

#: Bytes of a request's head. The HTTP parser by itself takes more where all of it comes at once.
MOST_HEAD_BYTES = 16_384

#: Bytes of a request's body. What is read here has none; it is said so before a byte of it is taken.
_MOST_BODY_BYTES = 65_536
_WITHOUT_BODY = {"GET", "HEAD"}
_NO_SUCH_BODY = b'{"error":"only POST may have a body, with a Content-Length of at most %d bytes"}' % _MOST_BODY_BYTES


#: What no name in `Host` keeps from being asked for without credentials: Prometheus and health checks use names of
#: services, and neither a statement nor a user stands in the answer.
_ANY_HOST = frozenset({_OPEN_PATH, "/health/deep", "/metrics"})
_WRONG_HOST = b'{"error":"this host name is not allowed: use an address, or add it to allowed_hosts under [http]"}'


class Credentials:
    """What is accepted as `Authorization`, kept as keyed digests; without any, all requests are accepted."""

    def __init__(self, tokens: list[bytes], users: list[bytes]) -> None:
        self._key = os.urandom(32)
        accepted = [b"bearer " + token for token in tokens] + [b"basic " + user for user in users]
        self._accepted = [self._digest_secret(each) for each in accepted]
        schemes = {b'Bearer realm="pgdoctor"': tokens, b'Basic realm="pgdoctor", charset="UTF-8"': users}
        #: Values of WWW-Authenticate.
        self.challenges = [challenge for challenge, secrets in schemes.items() if secrets]

    def __bool__(self) -> bool:
        """Authentication is required."""
        return bool(self._accepted)

    def accept(self, headers: list[tuple[bytes, bytes]]) -> bool:
        """Whether a request with these headers is let in. All digests are compared, in constant time."""
        given = [value for name, value in headers if name == b"authorization"]
        digest = self._digest_secret(_normalize_scheme(given[0]) if len(given) == 1 else b"")
        return any([hmac.compare_digest(digest, each) for each in self._accepted])  # noqa: C419

    def _digest_secret(self, plain: bytes) -> bytes:
        return hmac.digest(self._key, plain, "sha256")


def _normalize_scheme(given: bytes) -> bytes:
    """The value of an Authorization header with its scheme in lower case and base64 undone."""
    scheme, _, value = given.strip().partition(b" ")
    scheme, value = scheme.lower(), value.strip()
    if scheme == b"basic":
        try:
            value = base64.b64decode(value, validate=True)
        except binascii.Error:
            return b""
    return scheme + b" " + value


class Access(msgspec.Struct, frozen=True):
    """The `[http]` table with its files read."""

    credentials: Credentials
    tls: ssl.SSLContext | None
    #: Of the paths that ask for a bearer token in any case; without one in it, it is closed.
    bearers: Mapping[str, Credentials]
    #: Names in lower case that `Host` may have, beside addresses.
    hosts: frozenset[str] = frozenset()

    def allows_host(self, headers: list[tuple[bytes, bytes]]) -> bool:
        """Whether `Host` is an address or a name of ours.

        A page of another host whose name resolves to this address (DNS rebinding) sends its own host name.
        """
        return all(self._is_own(value.decode("latin-1")) for name, value in headers if name == b"host")

    def _is_own(self, host: str) -> bool:
        name = re.sub(r":[0-9]*\Z", "", host).lower().rstrip(".")
        if name in self.hosts or name.endswith(".localhost"):
            return True
        try:
            ipaddress.ip_address(name.strip("[]"))
        except ValueError:
            return False
        return True


def load_access(http: HttpSettings, webhook: WebhookSettings | None = None, listen: str = "") -> Access:
    """Read the files. Raises ConfigError, one line that quotes nothing of what is in them."""
    tokens = _read_tokens("http.token_file", http.token_file)
    users = list(_read_users(http.basic_auth_file)) if http.basic_auth_file is not None else []
    bearers = {DISARM: tokens, WEBHOOK: _read_tokens("webhook.token_file", webhook.token_file if webhook else None)}
    external = urlsplit(http.external_url or "").hostname
    own = ("localhost", socket.gethostname(), listen.rpartition(":")[0].strip("[]"), external, *http.allowed_hosts)
    return Access(
        Credentials(tokens, users),
        _make_tls_context(http),
        {path: Credentials(known, []) for path, known in bearers.items()},
        frozenset(name.lower() for name in own if name),
    )


def missing_protections(host: str, access: Access) -> list[str]:
    """What is missing where the agent listens beyond this machine, in words."""
    if ipaddress.ip_address(host.partition("%")[0]).is_loopback:
        return []
    missing = {"authentication (http.token_file)": access.credentials, "TLS (http.tls_certificate)": access.tls}
    return [name for name, there in missing.items() if not there]


def _read_tokens(key: str, path: str | None) -> list[bytes]:
    if path is None:
        return []
    token = read_secret(key, path).strip()
    if len(token) < _SHORTEST_SECRET or not all(33 <= char <= 126 for char in token):
        raise ConfigError(
            f"{key}: {path}: expected one line of at least {_SHORTEST_SECRET} printable ASCII characters, "
            "without spaces"
        )
    return [token]


def _read_users(path: str) -> Iterator[bytes]:
    lines = read_secret("http.basic_auth_file", path).splitlines()
    entries = [(number, line) for number, line in enumerate(lines, 1) if line.strip() and not line.startswith(b"#")]
    if not entries:
        raise ConfigError(f"http.basic_auth_file: {path}: empty; expected lines of user:password")
    for number, line in entries:
        user, _, password = line.partition(b":")
        if not user or len(password) < _SHORTEST_SECRET:
            raise ConfigError(
                f"http.basic_auth_file: {path} line {number}: expected user:password with a password of at least "
                f"{_SHORTEST_SECRET} characters"
            )
        yield line


def _make_tls_context(http: HttpSettings) -> ssl.SSLContext | None:
    if http.tls_certificate is None or http.tls_key is None:
        return None
    read_secret("http.tls_key", http.tls_key)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        # The password, because without one OpenSSL asks the terminal for that of an encrypted key.
        context.load_cert_chain(http.tls_certificate, http.tls_key, password="")
    except ssl.SSLError as error:
        reason = (error.reason or "not readable").lower().replace("_", " ")
        raise ConfigError(
            f"http.tls_certificate: {http.tls_certificate} and http.tls_key: {http.tls_key} are not a certificate and "
            f"its unencrypted key in PEM: {reason}"
        ) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not readable"
        raise ConfigError(f"http.tls_certificate: {http.tls_certificate}: cannot be read: {reason}") from None
    return context


class AuthMiddleware:
    """ASGI middleware: lets through who may ask, and no request that is big."""

    def __init__(self, application: ASGIApp, access: Access, refusals: RejectionCounter) -> None:
        self._application = application
        self.access = access
        self._refusals = refusals

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or let the application answer."""
        path = scope["path"]
        credentials = self.access.bearers.get(path, self.access.credentials)
        if path in self.access.bearers and not credentials:
            await self._refuse_request(scope, send, "closed", *_CLOSED[path], [])
        elif credentials and path != _OPEN_PATH and not credentials.accept(scope["headers"]):
            challenges = [(b"www-authenticate", each) for each in credentials.challenges]
            await self._refuse_request(scope, send, "unauthorized", 401, b'{"error":"unauthorized"}', challenges)
        elif not path.isprintable():
            # The router takes a path with a line end after it for the path without, which asks for more than this.
            await self._refuse_request(scope, send, "malformed", 404, b'{"error":"no such path"}', [])
        elif _head_bytes(scope) > MOST_HEAD_BYTES:
            await self._refuse_request(
                scope, send, "oversized", 431, b'{"error":"the head of the request is too big"}', []
            )
        elif _has_body(scope):
            await self._refuse_request(scope, send, "oversized", 413, _NO_SUCH_BODY, [])
        elif not credentials and path not in _ANY_HOST and not self.access.allows_host(scope["headers"]):
            await self._refuse_request(scope, send, "host", 421, _WRONG_HOST, [])
        else:
            await self._application(scope, receive, send)

    async def _refuse_request(
        self, scope: Scope, send: Send, reason: str, status: int, body: bytes, headers: list[tuple[bytes, bytes]]
    ) -> None:
        self._refusals.count_rejection(reason, scope["client"][0] if scope["client"] else None)
        headers = [
            *headers,
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"cache-control", b"no-store"),
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def _head_bytes(scope: Scope) -> int:
    headers = sum(len(name) + len(value) + len(": \r\n") for name, value in scope["headers"])
    return len(scope["raw_path"]) + len(scope["query_string"]) + headers


def _has_body(scope: Scope) -> bool:
    """A body where none belongs, or one that is too big or of unknown size. The HTTP parser has checked the length."""
    most = 0 if scope["method"] in _WITHOUT_BODY else _MOST_BODY_BYTES
    for name, value in scope["headers"]:
        if name == b"transfer-encoding" or (name == b"content-length" and int(value) > most):
            return True
    return False
