"""The journal for a process that has to go on without it: a disk may be full, read-only, or hang."""

import asyncio
import logging
import math
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from pgdoctor.errors import JournalError
from pgdoctor.journal.location import MAX_SIZE
from pgdoctor.journal.store import ROOM, Journal, JournalUsage

log = logging.getLogger(__name__)

T = TypeVar("T")

#: Seconds that a piece of work may take: a sync to a busy disk takes some of a second.
_DEADLINE = 2.0

#: Seconds after which the file is opened again: an open one may hide for long what each other process finds broken.
_OPENED_AGAIN = 30.0

#: Seconds after which what was written is brought from the log into the file: a copy of the file alone lacks the rest.
_CHECKPOINTED = 10.0

#: Seconds after which it is said again that something is left out.
_SAID_AGAIN = 3600.0
_WHY = {
    "frequent": "too many incidents of the same size within an hour",
    "full": "[journal] max_size is reached, and no more records can be deleted",
}


class Keeper:
    """Does one piece of work after the other in a thread of its own; opens the file when there is work to do."""

    def __init__(self, path: Path, max_size: int = MAX_SIZE) -> None:
        self.path = path
        #: Bytes; may change at any time.
        self.max_size = max_size
        #: As of the last piece of work; None: there was none yet.
        self.usage: JournalUsage | None = None
        #: What of incidents was not written, by why: too many in an hour, or no room.
        self.left_out = {"frequent": 0, "full": 0}
        #: Why the last piece of work failed; None: it did not, or there was none yet.
        self.error: str | None = None
        self._said_at: dict[str, float] = {}
        self._journal: Journal | None = None
        self._opened_at = 0.0
        self._checkpointed_at = 0.0
        self._is_changed = True
        self._is_marked = False
        self._thread = ThreadPoolExecutor(1, "journal")
        self._hanging: asyncio.Future[object] | None = None

    async def run_work(self, work: Callable[[Journal], T]) -> T:
        """What `work` returns, within two seconds. Raises JournalError; that it fails is logged once.

        Past the deadline it is not known whether it was done. While something hangs, everything else fails at once.
        """
        try:
            result = await self._within_deadline(work)
        except JournalError as error:
            if self.error is None:
                log.error("the journal cannot be used", extra={"error": str(error)})
            self.error = str(error)
            raise
        if self.error is not None and not self._is_full:
            log.info("the journal can be used again")
            self.error = None
        return result

    async def checkpoint(self) -> None:
        """Bring what was written into the file, some seconds after the last time; for an agent. Raises JournalError.

        Until `close` the file is marked as one that is written to.
        """
        if self._is_changed and time.monotonic() - self._checkpointed_at >= _CHECKPOINTED:
            self._checkpointed_at = time.monotonic()
            await self.run_work(lambda journal: journal.begin_writing())
            self._is_changed, self._is_marked = False, True

    def leave_out(self, why: str) -> None:
        """Count something of an incident that is not written, and say so once an hour."""
        self.left_out[why] += 1
        now = time.monotonic()
        if now - self._said_at.get(why, -math.inf) > _SAID_AGAIN:
            self._said_at[why] = now
            log.warning("some records of incidents are not stored", extra={"why": _WHY[why]})

    def close(self) -> "Future[None]":
        """Let go of the file, without waiting; the returned future says when that is done."""
        closed = self._thread.submit(self._end_writing)
        self._thread.shutdown(wait=False)
        return closed

    @property
    def _is_full(self) -> bool:
        """No action can be recorded though reading works, and leaving out what makes room for others."""
        return self.usage is not None and self.usage.used + ROOM > self.usage.limit

    async def _within_deadline(self, work: Callable[[Journal], T]) -> T:
        if self._hanging is not None and not self._hanging.done():
            raise JournalError(f"the journal {self.path} does not answer")
        future = asyncio.get_running_loop().run_in_executor(self._thread, self._do_work, work)
        done, _ = await asyncio.wait({future}, timeout=_DEADLINE)
        if not done:
            self._hanging = future  # type: ignore[assignment]
            raise JournalError(f"the journal {self.path} did not answer within {_DEADLINE:g} s")
        return future.result()

    def _do_work(self, work: Callable[[Journal], T]) -> T:
        is_old = time.monotonic() - self._opened_at >= _OPENED_AGAIN
        if self._journal is not None and (is_old or not self._journal.is_in_place):
            # Elsewhere, other processes would not see our records, nor we theirs.
            self._close_file()
        if self._journal is None:
            self._journal = Journal.open(self.path, self.max_size)
            self._opened_at = time.monotonic()
        try:
            self._journal.set_max_size(self.max_size)
            result = work(self._journal)
            self.usage = self._journal.measure_usage()
            self._is_changed = True
            return result
        except JournalError:
            # The file may have been moved, or its disk mounted again: the next piece of work opens it.
            self._close_file()
            raise

    def _end_writing(self) -> None:
        if self._is_marked and self._journal is not None:
            with suppress(JournalError):
                self._journal.end_writing()
        self._close_file()

    def _close_file(self) -> None:
        if self._journal is not None:
            self._journal.close()
            self._journal = None
