"""Whether a process of the server answers, before it reads any catalog: the first message of a connection.

A client that wants TLS asks for it before it says who it is. The server forks a process for each client, and that one
answers with one byte at once. It takes no slot: it has none before it knows the user.
Source: PostgreSQL documentation, "Message Flow", "SSL Session Encryption".
"""

import asyncio
import struct

#: The length of the message and the code of the request.
_REQUEST = struct.pack("!ii", 8, 80877103)


async def answers_tls_request(place: str, patience: float) -> bool:
    """Whether it answers within so many seconds. `place`: `10.0.0.5:5432`, or the path of a socket."""
    try:
        async with asyncio.timeout(patience):
            reader, writer = await _open_socket(place)
            try:
                writer.write(_REQUEST)
                return bool(await reader.read(1))
            finally:
                writer.close()
    except (OSError, TimeoutError, UnicodeError, ValueError):
        return False


async def _open_socket(place: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if place.startswith("/"):
        return await asyncio.open_unix_connection(place)
    host, _, port = place.rpartition(":")
    return await asyncio.open_connection(host.strip("[]"), int(port))
