"""One POST, by httpcore: the part of httpx that speaks HTTP.

httpx on top of it would take another 1.3 MB and 170 ms (measured; this takes 5 MB and 70 ms), and most of what it adds
would have to be switched off. This follows no redirect, heeds no proxy of the environment, keeps no cookie and unpacks
no body. Of an answer only the head is read.
"""

import asyncio
import ssl
import time
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import httpcore
import msgspec

from pgdoctor import __version__
from pgdoctor.notify.endpoint import Endpoint

#: Seconds that a receiver may ask us to wait.
MOST_RETRY_AFTER = 300.0


class Answer(msgspec.Struct, frozen=True):
    """The answer of a receiver. `retry_after`: seconds that it asks us to wait."""

    status: int
    retry_after: float = 0.0


class Unanswered(Exception):
    """No answer, or none that can be read. Its text says why, and nothing of where or what."""


async def post_json(address: Endpoint, body: bytes, seconds: float, tls: ssl.SSLContext | None) -> Answer:
    """Send a JSON object; all of it, from the host's name to the head of the answer, within so many seconds.

    Raises Unanswered.
    """
    try:
        async with asyncio.timeout(seconds), httpcore.AsyncConnectionPool(ssl_context=tls, max_connections=1) as pool:
            sending = pool.stream("POST", _make_url(address), headers=_make_headers(address), content=body)
            async with sending as response:
                return Answer(response.status, _retry_after(response.headers, time.time()))
    except TimeoutError:
        raise Unanswered(f"no answer within {seconds:g} s") from None
    except (httpcore.ConnectError, OSError) as error:
        raise Unanswered(_explain_unreachable(error)) from None
    except (httpcore.NetworkError, httpcore.ProtocolError):
        raise Unanswered("the receiver closed the connection, or its answer is not HTTP") from None


def _make_url(address: Endpoint) -> httpcore.URL:
    parts = urlsplit(address.url)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return httpcore.URL(scheme=parts.scheme, host=parts.hostname or "", port=parts.port, target=target)


def _make_headers(address: Endpoint) -> list[tuple[str, str]]:
    headers = [
        ("Host", urlsplit(address.url).netloc),
        ("Content-Type", "application/json"),
        ("User-Agent", f"pgdoctor/{__version__}"),
        ("Connection", "close"),
    ]
    return headers if address.token is None else [*headers, ("Authorization", f"Bearer {address.token}")]


def _explain_unreachable(error: BaseException) -> str:
    chain: BaseException | None = error
    while chain is not None:
        if isinstance(chain, ssl.SSLError):
            return "its certificate is not trusted" if isinstance(chain, ssl.SSLCertVerificationError) else "TLS failed"
        chain = chain.__cause__ or chain.__context__
    return "the receiver cannot be reached"


def _retry_after(headers: list[tuple[bytes, bytes]], now: float) -> float:
    """Seconds or a date; 0 where there is neither."""
    given = next((value.decode("latin-1") for name, value in headers if name.lower() == b"retry-after"), "")
    try:
        seconds = float(given) if given.isdecimal() else parsedate_to_datetime(given).timestamp() - now
    except (ValueError, OverflowError):
        return 0.0
    return min(max(seconds, 0.0), MOST_RETRY_AFTER)
