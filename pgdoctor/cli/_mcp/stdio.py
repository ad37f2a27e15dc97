"""The server on standard input and output: one message a line, of bounded length, and never more than is taken away."""

import asyncio
import math
import os
import signal
import sys
from typing import Any, BinaryIO, TypeAlias

import anyio
import mcp_types as types
from mcp.server import Server
from mcp.server.stdio import stdio_server
from mcp.shared.message import SessionMessage

#: Bytes of a line.
MOST_BYTES = 65_536

#: Answers that the client has not taken; with more, no further line is read.
_MOST_UNTAKEN = 64

#: The exit status of a signal.
_ENDING = {signal.SIGTERM: 0, signal.SIGINT: 130}

_NO_MESSAGE = f"expected one JSON-RPC message a line, of at most {MOST_BYTES:,} bytes"

Incoming: TypeAlias = SessionMessage | Exception


class BoundedLines:
    """The lines of a binary stream as text. In place of one that is too long there is one that is no message."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def readline(self) -> str:
        """The next line; empty at the end."""
        line = self._stream.readline(MOST_BYTES + 1)
        if len(line) <= MOST_BYTES:
            return line.decode(errors="replace")
        while line and not line.endswith(b"\n"):
            line = self._stream.readline(MOST_BYTES)
        return "too long\n"


async def serve_stdio(server: Server[Any]) -> None:
    """Answer until the client closes our input, or until SIGTERM or SIGINT."""
    for number, status in _ENDING.items():
        # A thread waits for the client's next line: nothing wakes it, and an orderly end would wait for it.
        asyncio.get_running_loop().add_signal_handler(number, os._exit, status)
    bounded: Any = BoundedLines(sys.stdin.buffer)
    to_server, incoming = anyio.create_memory_object_stream[Incoming](0)
    outgoing, from_server = anyio.create_memory_object_stream[SessionMessage](math.inf)
    taken = anyio.Condition()
    async with stdio_server(stdin=anyio.wrap_file(bounded)) as (read, write), anyio.create_task_group() as tasks:

        async def take_messages() -> None:
            """Hand messages on, answer what is none, and wait while the client takes no answers."""
            async with to_server:
                async for message in read:
                    async with taken:
                        while from_server.statistics().current_buffer_used > _MOST_UNTAKEN:
                            await taken.wait()
                    if isinstance(message, Exception):
                        await outgoing.send(_make_parse_error())
                    else:
                        await to_server.send(message)

        async def give_answers() -> None:
            async with from_server, write:
                async for message in from_server:
                    await write.send(message)
                    async with taken:
                        taken.notify_all()

        tasks.start_soon(take_messages)
        tasks.start_soon(give_answers)
        await server.run(incoming, outgoing, server.create_initialization_options())
        await outgoing.aclose()


def _make_parse_error() -> SessionMessage:
    error = types.ErrorData(code=types.PARSE_ERROR, message=_NO_MESSAGE)
    return SessionMessage(types.JSONRPCError(jsonrpc="2.0", id=None, error=error))
