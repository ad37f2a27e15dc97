"""What is learnt of a server from poll to poll, kept in the journal from one start of the agent to the next.

By the server's system identifier: another server that has come to have the same address has a memory of its own. No
poll waits for the journal.
"""

import asyncio
import logging
import time
from collections.abc import Coroutine, Mapping
from functools import partial
from typing import Any

from pgdoctor.baseline.thresholds import Thresholds, unpack_thresholds
from pgdoctor.errors import JournalError
from pgdoctor.journal.keeper import Keeper
from pgdoctor.journal.store import Journal
from pgdoctor.model.snapshot import JournalUse

log = logging.getLogger(__name__)

#: Under which name the journal has it.
NAME = "thresholds"

#: Seconds between two savings.
_SAVING = 60.0


class Learning:
    """The thresholds of whichever server is behind the connection."""

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper
        self._learnt: _Learnt | None = None

    @property
    def thresholds(self) -> Thresholds:
        """As of the last poll."""
        return self._learnt.thresholds if self._learnt is not None else Thresholds()

    def observe(self, server: str, values: Mapping[str, float], at: float, *, incident: bool) -> None:
        """Learn from one poll, in Unix time. `server` is its system identifier, empty where that cannot be known."""
        if self._learnt is None or self._learnt.server != server:
            if self._learnt is not None:
                log.info("connected to another server: its baselines have to be learnt")
                self._learnt.save()
            self._learnt = _Learnt(self._keeper, server)
        self._learnt.observe(values, at, incident=incident)

    @property
    def journal(self) -> JournalUse | None:
        """How full the journal is; None: not known yet."""
        usage = self._keeper.usage
        return None if usage is None else JournalUse(usage.used, usage.lasting, usage.limit)

    async def end(self) -> None:
        """Keep what is known now."""
        if self._learnt is not None:
            await self._learnt.end()


class _Learnt:
    """The thresholds of one server."""

    def __init__(self, keeper: Keeper, server: str) -> None:
        self.server = server
        self.thresholds = Thresholds()
        self._keeper = keeper
        #: It is known what the journal has. Before that nothing is written over it.
        self._is_recalled = False
        self._at_work: set[asyncio.Task[None]] = set()
        self._worked_at = 0.0
        if server:
            self._begin_work(self._recall_thresholds())

    def observe(self, values: Mapping[str, float], at: float, *, incident: bool) -> None:
        if self._at_work and not self._is_recalled:
            return
        self.thresholds = self.thresholds.observe(values, at, incident=incident)
        if self.server and not self._at_work and time.monotonic() - self._worked_at >= _SAVING:
            self.save()

    def save(self) -> None:
        """Begin to keep what is known; or, where the journal did not say what it has, ask again."""
        self._begin_work(self._save_thresholds() if self._is_recalled else self._recall_thresholds())

    async def end(self) -> None:
        if self._at_work:
            await asyncio.wait(self._at_work)
        await self._save_thresholds()

    def _begin_work(self, work: Coroutine[Any, Any, None]) -> None:
        self._worked_at = time.monotonic()
        task = asyncio.create_task(work)
        self._at_work.add(task)
        task.add_done_callback(self._at_work.discard)

    async def _recall_thresholds(self) -> None:
        try:
            body = await self._keeper.run_work(lambda journal: journal.recall(self.server, NAME))
        except JournalError:
            # The keeper has said so. Learnt again meanwhile, and forgotten when the journal answers.
            return
        self._is_recalled = True
        if body is not None:
            try:
                self.thresholds = unpack_thresholds(body)
            except ValueError as error:
                log.warning("stored baselines are not used; learning starts again", extra={"reason": str(error)})

    async def _save_thresholds(self) -> None:
        if self._is_recalled:
            try:
                await self._keeper.run_work(partial(_keep_thresholds, server=self.server, thresholds=self.thresholds))
            except JournalError:
                # The keeper has said so.
                return


def _keep_thresholds(journal: Journal, server: str, thresholds: Thresholds) -> None:
    journal.remember(server, NAME, thresholds.encode_state())
