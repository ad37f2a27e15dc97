"""How answers are sent: their headers, and the policy that a browser enforces on a page."""

import base64
import hashlib

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from pgdoctor.render.web.assets import DOCUMENT_STYLE, SCRIPT, STYLE

#: What is written to a client at once.
_PIECE_BYTES = 65_536


def _hash_source(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


#: Nothing but what the page itself brings along; its script may ask for the page again, and for nothing else. Pictures
#: are the icon in the browser's tab.
_POLICY = (
    "default-src 'none'",
    f"style-src {_hash_source(STYLE)} {_hash_source(DOCUMENT_STYLE)}",
    f"script-src {_hash_source(SCRIPT)}",
    "connect-src 'self'",
    "img-src data:",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
    "trusted-types 'none'",
)

HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "; ".join(_POLICY),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Pieces(Response):
    """A response that is handed over as fast as the client takes it: of a big one, all clients share one copy."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Send it."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        # To a HEAD request a server sends none of it.
        body = memoryview(b"" if scope["method"] == "HEAD" else self.body)
        for begin in range(0, max(len(body), 1), _PIECE_BYTES):
            piece = bytes(body[begin : begin + _PIECE_BYTES])
            await send({"type": "http.response.body", "body": piece, "more_body": begin + _PIECE_BYTES < len(body)})
