"""A line between pgdoctor and a server: it counts round trips, and may take its time."""

import asyncio
import threading
from contextlib import suppress
from typing import Self

#: Bytes that are read at once.
_CHUNK = 65_536


class CountingWire:
    """Hands on what comes, half of `delay` seconds later each way, on a loopback port of its own.

    A round trip begins when the client says something and the server was the last to speak.
    """

    def __init__(self, port: int, delay: float = 0.0) -> None:
        self._server, self._delay = port, delay / 2
        self.port = 0
        #: Of all connections so far, the login's too.
        self.round_trips = 0
        self._loop = asyncio.new_event_loop()
        self._is_listening, self._is_over = threading.Event(), asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._is_listening.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._is_over.set)
        self._thread.join()
        self._loop.close()

    async def _serve(self) -> None:
        async with asyncio.TaskGroup() as group:
            listening = await asyncio.start_server(
                lambda reader, writer: group.create_task(self._connect(reader, writer)), "127.0.0.1", 0
            )
            self.port = listening.sockets[0].getsockname()[1]
            self._is_listening.set()
            await self._is_over.wait()
            listening.close()

    async def _connect(self, said: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        answers, server = await asyncio.open_connection("127.0.0.1", self._server)
        speaker = [""]
        carrying = [
            asyncio.ensure_future(self._carry(said, server, speaker, "client")),
            asyncio.ensure_future(self._carry(answers, client, speaker, "server")),
            asyncio.ensure_future(self._is_over.wait()),
        ]
        await asyncio.wait(carrying, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.sleep(self._delay)
        for each in carrying:
            each.cancel()
        await asyncio.gather(*carrying, return_exceptions=True)
        for end in (client, server):
            end.transport.abort()

    async def _carry(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, speaker: list[str], who: str
    ) -> None:
        with suppress(OSError):
            while said := await source.read(_CHUNK):
                self.round_trips += who == "client" and speaker[0] != "client"
                speaker[0] = who
                self._loop.call_later(self._delay, target.write, said)
