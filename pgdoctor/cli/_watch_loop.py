"""The live view at work: polls, keys, a terminal that changes its size, a server that comes and goes."""

import asyncio
import logging
import signal
import time
from collections.abc import Awaitable, Callable, Coroutine

from msgspec.structs import replace

from pgdoctor.agent.polling.poll import PollRunner
from pgdoctor.agent.polling.reconnector import Reconnector
from pgdoctor.cli._options import DEADLINE
from pgdoctor.cli._terminal import Terminal
from pgdoctor.config.config import AgentSettings
from pgdoctor.errors import PgdoctorError, ServerError
from pgdoctor.fields import Duration
from pgdoctor.model.diagnosis import Diagnosis
from pgdoctor.postgres.offload import offload
from pgdoctor.render.live.screen import ScreenInput, draw_screen, list_lines
from pgdoctor.render.live.session_rows import list_rows
from pgdoctor.render.live.view import Signal, View, ViewQuestion, keep_view, press_key
from pgdoctor.render.report import Report, make_report

log = logging.getLogger(__name__)

#: Of one core of the server: what the view may take of it. More than an agent, which nobody sits in front of.
SHARE = 0.1

#: What is to be read about a session.
Said = tuple[str, ...]
#: Looks into whether a session may be signalled: the question to ask, or why there is none.
Asks = Callable[[int, Signal], Awaitable[ViewQuestion | Said]]
#: Signals it by the guarded path, if it is still what was agreed to; what came of that.
Acts = Callable[[ViewQuestion], Awaitable[Said]]


class WatchLoop:
    """From its first picture until `q`."""

    def __init__(
        self,
        terminal: Terminal,
        dsn: str,
        interval: float,
        asks: Asks,
        acts: Acts,
        *,
        into_databases: bool = True,
    ) -> None:
        self._terminal = terminal
        self._connection = Reconnector(dsn, DEADLINE)
        self._runner = PollRunner(
            AgentSettings(interval=Duration(interval), max_server_share=SHARE, look_into_databases=into_databases)
        )
        self._asks, self._acts = asks, acts
        self._seen = ScreenInput(interval=interval)
        self._seen_at = time.monotonic()
        self._view = View()
        self._over = asyncio.Event()
        #: What came of each action, in lines.
        self.done: list[str] = []
        #: What looks into a session, or signals it: one thing at a time.
        self._errand: asyncio.Task[None] | None = None
        self._is_acting = False

    async def run(self) -> None:
        """Show and obey. Raises ServerError where the server cannot be asked even once."""
        loop = asyncio.get_running_loop()
        loop.add_reader(0, self._typed)
        loop.add_signal_handler(signal.SIGWINCH, self._resized)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
            loop.add_signal_handler(number, self._over.set)
        self._draw()
        polling = asyncio.create_task(self._poll())
        ticking = asyncio.create_task(self._tick())
        ending = asyncio.create_task(self._over.wait())
        try:
            await asyncio.wait({polling, ending}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            polling.cancel()
            ticking.cancel()
            await asyncio.gather(polling, ticking, return_exceptions=True)
            loop.remove_reader(0)
            self._connection.drop()
        if polling.done() and not polling.cancelled() and (error := polling.exception()) is not None:
            raise error

    async def settle(self) -> None:
        """Wait for an action that is under way: nobody is signalled without being seen to."""
        if self._errand is None or self._errand.done():
            return
        if not self._is_acting:
            self._errand.cancel()
        await asyncio.wait({self._errand})

    async def _poll(self) -> None:
        while True:
            began = time.monotonic()
            try:
                finding = await self._runner.examine(await self._connection.door())
                await self._take(finding.diagnosis)
            except ServerError as error:
                if self._seen.report is None:
                    raise
                self._seen = replace(self._seen, error=str(error))
            self._draw()
            await asyncio.sleep(max(began + self._seen.interval - time.monotonic(), 0.05))

    async def _tick(self) -> None:
        """Let the screen show how old it is, whatever the server does."""
        while True:
            await asyncio.sleep(1.0)
            self._draw()

    async def _take(self, diagnosis: Diagnosis) -> None:
        self._seen_at = time.monotonic()
        self._seen = replace(self._seen, error=None)
        if self._view.is_frozen and self._seen.report is not None:
            return
        if diagnosis is not self._seen.diagnosis:
            facts = await self._report(diagnosis)
            self._seen = replace(self._seen, diagnosis=diagnosis, report=facts)
        self._arrange()

    @staticmethod
    async def _report(diagnosis: Diagnosis) -> Report:
        return await offload(len(diagnosis.snapshot.sessions), make_report, diagnosis)

    def _arrange(self) -> None:
        """Bring the rows into the order that is wanted."""
        seen = self._seen
        if seen.diagnosis is not None and seen.report is not None:
            self._seen = replace(seen, rows=list_rows(seen.diagnosis, seen.report, self._view.order))
        self._view = keep_view(self._view, self._seen.rows)

    def _typed(self) -> None:
        if self._terminal.is_gone:
            self._over.set()
            return
        for key in self._terminal.typed():
            if key == "redraw":
                self._terminal.resize()
            else:
                self._obey(key)
        self._draw()

    def _obey(self, key: str) -> None:
        order = self._view.order
        pressed = press_key(self._view, key, self._seen.rows, list_lines(self._terminal.size[1]))
        self._view = pressed.view
        if self._view.order != order:
            self._arrange()
        match pressed.wish:
            case "quit":
                self._over.set()
            case "cancel" | "terminate" as wanted:
                assert isinstance(self._view.chosen, int)
                self._send(self._ask(self._view.chosen, wanted), f"reading session {self._view.chosen} …")
            case "yes":
                asked = self._view.question
                assert asked is not None
                self._view = replace(self._view, question=None)
                self._send(self._act(asked), f"{asked.signal} {asked.pid} …")

    def _send(self, errand: Coroutine[None, None, None], message: str) -> None:
        if self._errand is not None and not self._errand.done():
            errand.close()
            message = "the previous action is still in progress"
        else:
            self._errand = asyncio.create_task(errand)
        self._view = replace(self._view, message=message)

    async def _ask(self, pid: int, wanted: Signal) -> None:
        self._is_acting = False
        said = await self._heard(self._asks(pid, wanted))
        if isinstance(said, ViewQuestion):
            self._view = replace(self._view, question=said, message="")
        else:
            self._say(said)
        self._draw()

    async def _act(self, asked: ViewQuestion) -> None:
        self._is_acting = True
        said = await self._heard(self._acts(asked))
        assert not isinstance(said, ViewQuestion)
        self.done.extend(said)
        self._say(said)
        self._draw()

    def _say(self, said: Said) -> None:
        self._view = replace(self._view, notice=said, message="")

    @staticmethod
    async def _heard(work: Awaitable[ViewQuestion | Said]) -> ViewQuestion | Said:
        try:
            return await work
        except PgdoctorError as error:
            return (str(error),)
        except Exception as error:
            log.exception("reading a session failed")
            return (f"internal error: {type(error).__name__}",)

    def _resized(self) -> None:
        self._terminal.resize()
        self._draw()

    def _draw(self) -> None:
        if not self._over.is_set():
            seen = replace(self._seen, age=time.monotonic() - self._seen_at)
            self._terminal.draw(draw_screen(seen, self._view, *self._terminal.size))
