"""Answers a scrape that comes again, byte for byte, on the socket itself: without a protocol, a task, or a parser.

Prometheus sends the same bytes each time. Parsing them again, with all that belongs to a connection of asyncio, took
four fifths of what a scrape costs; a protocol of asyncio with a ready-made answer still takes half a millisecond.
"""

import hmac
import os
from collections.abc import Callable

from starlette.responses import Response

#: Different requests that are known. A server is scraped by few clients; when there are more, they begin again.
_MOST_KNOWN = 64

#: Ends the head of a request, and with it a request that has no body.
_END_OF_HEAD = b"\r\n\r\n"


class RepeatedScrapes:
    """The requests for the metrics page that were answered before, as keyed digests: they contain credentials.

    `respond` makes the answer for an Accept header, or None where that has to go the long way.
    """

    def __init__(self, respond: Callable[[str], Response | None]) -> None:
        self._respond = respond
        self._key = os.urandom(32)
        self._known: dict[bytes, str] = {}

    def forget(self) -> None:
        """Check each request again from now on: the rules of access have changed."""
        self._known.clear()

    def remember(self, request: bytes, accept: str) -> None:
        """That these bytes, all that a client has sent, are a request which was let in and answered with the page."""
        if request.find(_END_OF_HEAD) != len(request) - len(_END_OF_HEAD):
            return
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        self._known[self._digest(request)] = accept

    def find_answer(self, request: bytes, headers: bytes) -> bytes | None:
        """What is to be sent to a client that has sent these bytes; None: they are not known. `headers` are added."""
        accept = self._known.get(self._digest(request)) if self._known else None
        try:
            response = self._respond(accept) if accept is not None else None
        except Exception:  # noqa: BLE001 (the long way meets it again, and answers that)
            return None
        if response is None:
            return None
        lines = [b"%b: %b\r\n" % header for header in response.raw_headers]
        return b"".join((b"HTTP/1.1 200 OK\r\n", *lines, headers, b"\r\n", response.body))

    def _digest(self, request: bytes) -> bytes:
        return hmac.digest(self._key, request, "sha256")
