"""A line to a server whose messages are not English: the server's own errors, with other words in another encoding."""

import asyncio
import codecs
import struct
from contextlib import suppress

from tests.wire import CountingWire

#: What stands before each text, whose words become none of any language; and two that translations keep.
SEVERITY, STUMBLE = "FATALE", "ungültig (timeout, database)"


class TranslatingWire(CountingWire):
    """Hands on what comes, and translates the errors of the server. All other fields of them stay."""

    def __init__(self, port: int, encoding: str) -> None:
        super().__init__(port)
        self._encoding = encoding

    async def _carry(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, speaker: list[str], who: str
    ) -> None:
        if who == "client":
            await super()._carry(source, target, speaker, who)
            return
        with suppress(OSError, asyncio.IncompleteReadError):
            # The answer to the request for TLS is one byte.
            target.write(await source.readexactly(1))
            while kind := await source.readexactly(1):
                (length,) = struct.unpack("!i", await source.readexactly(4))
                body = await source.readexactly(length - 4)
                if kind == b"E":
                    body = b"\0".join(map(self._translate, body.split(b"\0")))
                target.write(kind + struct.pack("!i", len(body) + 4) + body)

    def _translate(self, field: bytes) -> bytes:
        said = codecs.encode(field[1:].decode(), "rot13")
        words = {b"S": SEVERITY, b"M": f"{STUMBLE} {said}"}.get(field[:1])
        return field if words is None else field[:1] + words.encode(self._encoding)
