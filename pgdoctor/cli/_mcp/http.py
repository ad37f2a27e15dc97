"""The server over streamable HTTP: the agent's own HTTP server, its token and its limits, and no session is kept.

Each request is answered with one JSON object. A browser has no business here: a foreign `Host`, and any `Origin`, is
refused, and there are no CORS headers.
"""

import asyncio
import logging
import signal
import socket
from typing import Any

from mcp.server import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from starlette.types import ASGIApp, Receive, Scope, Send

from pgdoctor.agent.http.auth import Access, load_access, missing_protections
from pgdoctor.agent.http.http_server import HttpServer
from pgdoctor.agent.http.listen import open_listening_socket
from pgdoctor.agent.http.rejections import RejectionCounter
from pgdoctor.config.config import HttpSettings
from pgdoctor.errors import UsageError

log = logging.getLogger("pgdoctor.mcp")

PATH = "/mcp"

#: Bytes of a request's body; the agent's server has the same limit.
_MOST_BODY_BYTES = 65_536

#: What is said of a request that is refused, by status.
_REFUSALS = {
    403: b'{"error":"requests of web pages (with an Origin) are refused"}',
    404: b'{"error":"no such path; the server answers POST /mcp"}',
    405: b'{"error":"allowed methods: POST"}',
    421: b'{"error":"this host name is not allowed: use an address, or add it to allowed_hosts under [http]"}',
}


class ProtocolEndpoint:
    """ASGI application: lets only requests of programs for our path through to the SDK."""

    def __init__(self, application: ASGIApp, access: Access) -> None:
        self._application = application
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or let the SDK answer."""
        status = self._find_refusal(scope)
        if status is None:
            await self._application(scope, receive, send)
            return
        body = _REFUSALS[status]
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        allow = [(b"allow", b"POST")] if status == 405 else []
        await send({"type": "http.response.start", "status": status, "headers": [*headers, *allow]})
        await send({"type": "http.response.body", "body": body})

    def _find_refusal(self, scope: Scope) -> int | None:
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        if not self._access.allows_host(headers):
            return 421
        if any(name == b"origin" for name, _ in headers):
            return 403
        if scope["path"] != PATH:
            return 404
        return 405 if scope["method"] != "POST" else None


def open_access(http: HttpSettings, address: str) -> tuple[Access, socket.socket]:
    """The credentials, and a listening socket. Raises UsageError where no token is set, and ConfigError."""
    if http.token_file is None:
        raise UsageError("--http needs a token: --token-file FILE, or token_file under [http] of the configuration")
    access = load_access(http, listen=address)
    listener = open_listening_socket(address)
    for missing in missing_protections(listener.getsockname()[0], access):
        log.warning("MCP is reachable from other machines without protection", extra={"missing": missing})
    return access, listener


async def serve_http(server: Server[Any], access: Access, listener: socket.socket) -> None:
    """Answer requests until SIGTERM or SIGINT."""
    manager = StreamableHTTPSessionManager(
        server, json_response=True, stateless=True, max_request_body_size=_MOST_BODY_BYTES
    )
    http = HttpServer(ProtocolEndpoint(manager.handle_request, access), access, RejectionCounter())
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, http.stop)
    async with manager.run():
        log.info("MCP server started", extra={"listen": _format_address(listener), "path": PATH})
        await http.serve_on(listener)


def _format_address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
