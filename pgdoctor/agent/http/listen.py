"""Where the agent listens: an address as people write it, made into a socket before anything else starts."""

import socket

from pgdoctor.errors import UsageError

#: Connections that wait to be accepted. In a flood a client that finds the queue full tries again only a second later.
_BACKLOG = 4096

#: Bytes of an answer that the system keeps for a client that does not read; it doubles them. By itself it keeps up to
#: 4 MB: a thousand such clients use up its memory for TCP, and it resets answers that are on their way.
_SEND_BUFFER_BYTES = 65_536


def open_listening_socket(address: str) -> socket.socket:
    """A listening socket for `HOST:PORT`, `[IPv6]:PORT` or `:PORT` (all interfaces). Raises UsageError."""
    host, _, port = address.rpartition(":")
    try:
        listener = _bind_socket(host.strip("[]"), int(port))
        # Inherited by accepted connections. Without it an answer in two writes, head and body, takes 40 ms longer;
        # asyncio sets it only on sockets that say that their protocol is TCP, which these do not.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        return listener
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        # Without what Python adds to it.
        raise UsageError(f"cannot listen on {address}: {(reason or str(error)).partition(' (')[0]}") from None


def _bind_socket(host: str, port: int) -> socket.socket:
    if not host:
        both = socket.has_dualstack_ipv6()
        family = socket.AF_INET6 if both else socket.AF_INET
        return socket.create_server(("", port), family=family, backlog=_BACKLOG, dualstack_ipv6=both)
    family, _, _, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    return socket.create_server(where[:2], family=family, backlog=_BACKLOG)
