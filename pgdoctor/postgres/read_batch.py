"""Reads that are asked for at the same moment go to the server together, in one round trip."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

Rows = Sequence[Any]


class Read(NamedTuple):
    """A statement of `sql/` that changes nothing: it may run a second time."""

    name: str
    parameters: Mapping[str, object]


class BatchFailed(Exception):
    """The server has refused another one of several reads, and has not run this one: it has to be asked again.

    At least one read of each batch is answered, so asking again comes to an end.
    """


class ReadBatch:
    """Collects the reads of concurrent tasks. The first task sends them; the others wait for their answers."""

    def __init__(self, send: Callable[[Sequence[Read]], Awaitable[Sequence[Rows | Exception]]]) -> None:
        self._send = send
        self._asked: list[tuple[Read, asyncio.Future[Rows]]] = []
        self._turn = asyncio.Lock()

    async def fetch(self, name: str, **parameters: object) -> Rows:
        """The rows of one read. Raises ServerError, and BatchFailed."""
        answer: asyncio.Future[Rows] = asyncio.get_running_loop().create_future()
        self._asked.append((Read(name, parameters), answer))
        if len(self._asked) == 1:
            await self._send_all()
        return await answer

    async def _send_all(self) -> None:
        """Let the other tasks ask, then send what all have asked. The raised error is that of the whole batch."""
        asked: list[tuple[Read, asyncio.Future[Rows]]] = []
        try:
            async with self._turn:
                await self._wait_for_others()
                asked, self._asked = self._asked, []
                found = await self._send([read for read, _ in asked])
        except BaseException as error:
            if not asked:
                asked, self._asked = self._asked, []
            # Where only the first task is cancelled, the others ask again by themselves.
            others = BatchFailed() if isinstance(error, asyncio.CancelledError) else error
            for _, answer in asked[1:]:
                if not answer.done():
                    answer.set_exception(others)
            raise
        for (_, answer), outcome in zip(asked, found, strict=True):
            _settle_answer(answer, outcome)

    async def _wait_for_others(self) -> None:
        """Until no more reads come. A task that starts tasks of its own is two turns of the loop late."""
        count = 0
        while len(self._asked) > count:
            count = len(self._asked)
            await asyncio.sleep(0)
            await asyncio.sleep(0)


def _settle_answer(answer: asyncio.Future[Rows], outcome: Rows | Exception) -> None:
    if answer.done():
        return
    if isinstance(outcome, Exception):
        answer.set_exception(outcome)
    else:
        answer.set_result(outcome)


@asynccontextmanager
async def reading_together() -> AsyncIterator[asyncio.TaskGroup]:
    """A group of tasks whose reads share round trips. Raises the first error of a task as it is."""
    try:
        async with asyncio.TaskGroup() as group:
            yield group
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
