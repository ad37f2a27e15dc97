"""One request, by httpcore: the part of httpx that speaks HTTP.

httpx on top of it would take another 1.3 MB and 170 ms (measured; this takes 5 MB and 70 ms), and most of what it adds
would have to be switched off. This follows no redirect, heeds no proxy of the environment, keeps no cookie and unpacks
no body. Of an answer only the head is read, and as much of the body as its format asks for.
"""

import asyncio
import ssl
import time
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import httpcore

from pgdoctor import __version__
from pgdoctor.notify.format import Answer, Request

#: Seconds that a receiver may ask us to wait.
MOST_RETRY_AFTER = 300.0


class Unanswered(Exception):
    """No answer, or none that can be read. Its text says why, and nothing of where or what."""


async def send_request(request: Request, seconds: float, tls: ssl.SSLContext | None, most: int = 0) -> Answer:
    """Send it; all of it, from the host's name to the answer, within so many seconds.

    At most so many bytes of the answer's body are read. Raises Unanswered.
    """
    try:
        async with asyncio.timeout(seconds), httpcore.AsyncConnectionPool(ssl_context=tls, max_connections=1) as pool:
            url, headers = _make_url(request.url), _make_headers(request)
            async with pool.stream(request.method, url, headers=headers, content=request.body) as response:
                body = await _read_body(response, most)
                return Answer(response.status, _retry_after(response.headers, time.time()), body)
    except TimeoutError:
        raise Unanswered(f"no answer within {seconds:g} s") from None
    except (httpcore.ConnectError, OSError) as error:
        raise Unanswered(_explain_unreachable(error)) from None
    except (httpcore.NetworkError, httpcore.ProtocolError):
        raise Unanswered("the receiver closed the connection, or its answer is not HTTP") from None


async def _read_body(response: httpcore.Response, most: int) -> bytes:
    read = b""
    if most > 0:
        async for part in response.aiter_stream():
            read += part
            if len(read) >= most:
                break
    return read[:most]


def _make_url(url: str) -> httpcore.URL:
    parts = urlsplit(url)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return httpcore.URL(scheme=parts.scheme, host=parts.hostname or "", port=parts.port, target=target)


def _make_headers(request: Request) -> list[tuple[str, str]]:
    return [
        ("Host", urlsplit(request.url).netloc),
        *request.headers,
        ("User-Agent", f"pgdoctor/{__version__}"),
        ("Connection", "close"),
    ]


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
