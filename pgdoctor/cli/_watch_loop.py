"""The live view at work: polls, keys, a terminal that changes its size, a server that comes and goes."""

import asyncio
import logging
import math
import signal
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress

from msgspec.structs import replace

from pgdoctor.agent.polling.pacing import Pacing
from pgdoctor.agent.polling.poll import PollRunner
from pgdoctor.agent.polling.reconnector import Reconnector
from pgdoctor.cli._local_processes import LocalProcesses
from pgdoctor.cli._options import DEADLINE
from pgdoctor.cli._terminal import Terminal
from pgdoctor.config.config import AgentSettings
from pgdoctor.errors import PgdoctorError, ServerError
from pgdoctor.fields import Duration
from pgdoctor.model.diagnosis import Diagnosis
from pgdoctor.observer.activity_rates import ActivityRateObserver
from pgdoctor.postgres.activity import ActivityReader
from pgdoctor.postgres.connection import Connection
from pgdoctor.postgres.offload import offload
from pgdoctor.render.live.activity_rows import list_activity
from pgdoctor.render.live.screen import ScreenInput, draw_screen, list_lines, listed_rows
from pgdoctor.render.live.session_rows import list_rows
from pgdoctor.render.live.view import (
    Signal,
    View,
    ViewQuestion,
    follow_blocking,
    keep_view,
    press_key,
    shown_tab,
)
from pgdoctor.render.report import Report, make_report

log = logging.getLogger(__name__)

#: Of one core of the server: the share that the view may take. More than an agent takes, which runs unattended.
SHARE = 0.1

#: Seconds from one poll to the next that can be chosen.
PACES = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)

#: Seconds without a blocked session after which the list of all sessions comes back: under write load sessions wait for
#: a moment all the time, and the lists would take turns.
_CALM = 3.0

#: Lines to show about a session.
Said = tuple[str, ...]
#: Looks into whether a session may be signalled: the question to ask, or why there is none.
Asks = Callable[[int, Signal], Awaitable[ViewQuestion | Said]]
#: Signals it by the guarded path, if it is still what was agreed to; what came of that.
Acts = Callable[[ViewQuestion], Awaitable[Said]]


def _list_arrangement(view: View) -> tuple[object, ...]:
    """What the rows of a view are arranged by."""
    return view.order, view.sort, view.is_grouped


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
        self._into_databases = into_databases
        self._runner = PollRunner(self._build_settings(interval), Pacing())
        #: Of the present connection.
        self._reader: tuple[Connection, ActivityReader, ActivityRateObserver] | None = None
        self._processes = LocalProcesses()
        self._asks, self._acts = asks, acts
        self._seen = ScreenInput(interval=interval)
        self._seen_at = time.monotonic()
        self._view = View()
        #: When a session was blocked last.
        self._blocked_at = -math.inf
        self._over = asyncio.Event()
        #: The next poll is requested now.
        self._wanted = asyncio.Event()
        #: What came of each action, in lines.
        self.done: list[str] = []
        #: What looks into a session, or signals it: one thing at a time.
        self._errand: asyncio.Task[None] | None = None
        self._is_acting = False

    async def run(self) -> None:
        """Show and obey. Raises ServerError where the server cannot be asked even once."""
        loop = asyncio.get_running_loop()
        loop.add_reader(0, self._read_keys)
        loop.add_signal_handler(signal.SIGWINCH, self._handle_resize)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
            loop.add_signal_handler(number, self._over.set)
        self._draw_screen()
        polling = asyncio.create_task(self._poll_server())
        ticking = asyncio.create_task(self._redraw_age())
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
        """Wait for a running action: the outcome of each signal is watched."""
        if self._errand is None or self._errand.done():
            return
        if not self._is_acting:
            self._errand.cancel()
        await asyncio.wait({self._errand})

    def _build_settings(self, interval: float) -> AgentSettings:
        return AgentSettings(
            interval=Duration(interval), max_server_share=SHARE, look_into_databases=self._into_databases
        )

    async def _poll_server(self) -> None:
        while True:
            began = time.monotonic()
            try:
                connection = await self._connection.connect()
                finding = await self._runner.examine(connection)
                await self._take_diagnosis(finding.diagnosis)
                await self._read_activity(connection)
            except ServerError as error:
                if self._seen.report is None:
                    raise
                self._seen = replace(self._seen, error=str(error))
            self._draw_screen()
            with suppress(TimeoutError):
                async with asyncio.timeout(max(began + self._seen.interval - time.monotonic(), 0.05)):
                    await self._wanted.wait()
            self._wanted.clear()

    async def _redraw_age(self) -> None:
        """Let the screen show how old it is, whatever the server does."""
        while True:
            await asyncio.sleep(1.0)
            self._draw_screen()

    async def _take_diagnosis(self, diagnosis: Diagnosis) -> None:
        self._seen_at = time.monotonic()
        self._seen = replace(self._seen, error=None)
        if self._view.is_frozen and self._seen.report is not None:
            return
        if diagnosis is not self._seen.diagnosis:
            facts = await self._make_report(diagnosis)
            self._seen = replace(self._seen, diagnosis=diagnosis, report=facts)
        self._arrange_rows()

    @staticmethod
    async def _make_report(diagnosis: Diagnosis) -> Report:
        return await offload(len(diagnosis.snapshot.sessions), make_report, diagnosis)

    async def _read_activity(self, connection: Connection) -> None:
        """What all sessions do, while their list is shown. Raises ServerError."""
        if shown_tab(self._view) != "sessions":
            return
        if self._reader is None or self._reader[0] is not connection:
            self._reader = connection, ActivityReader(connection), ActivityRateObserver()
        activity = await self._reader[1].read_activity()
        rates = self._reader[2].observe(activity)
        usage = await offload(len(activity.sessions), self._processes.read_usage, activity)
        if self._view.is_frozen and self._seen.activity is not None:
            return
        processes = usage.processes if usage is not None else None
        rows = await offload(len(activity.sessions), list_activity, activity, self._view.sort, processes)
        self._seen = replace(self._seen, activity=activity, rates=rates, usage=usage, activity_rows=rows)
        self._keep_snapshot()

    def _arrange_rows(self) -> None:
        """Sort the rows in the chosen order."""
        seen, view = self._seen, self._view
        if seen.diagnosis is not None and seen.report is not None:
            rows = list_rows(seen.diagnosis, seen.report, view.order, is_grouped=view.is_grouped)
            self._seen = seen = replace(seen, rows=rows)
            if rows:
                self._blocked_at = time.monotonic()
            is_blocked = time.monotonic() - self._blocked_at < _CALM
            self._view = follow_blocking(view, is_blocked=is_blocked)
        if seen.activity is not None:
            processes = seen.usage.processes if seen.usage is not None else None
            self._seen = replace(seen, activity_rows=list_activity(seen.activity, view.sort, processes))
        self._keep_snapshot()

    def _keep_snapshot(self) -> None:
        self._view = keep_view(self._view, listed_rows(self._seen, self._view))

    def _read_keys(self) -> None:
        if self._terminal.is_gone:
            self._over.set()
            return
        for key in self._terminal.read_keys():
            self._obey_key(key)
        self._draw_screen()

    def _obey_key(self, key: str) -> None:
        before = self._view
        pressed = press_key(before, key, listed_rows(self._seen, before), list_lines(self._terminal.size[1]))
        self._view = pressed.view
        if _list_arrangement(self._view) != _list_arrangement(before):
            self._arrange_rows()
        if shown_tab(self._view) != shown_tab(before) or self._view.filter != before.filter:
            self._keep_snapshot()
            self._wanted.set()
        match pressed.wish:
            case "slower" | "faster" as pace:
                self._change_pace(1 if pace == "slower" else -1)
            case "quit":
                self._over.set()
            case "cancel" | "terminate" as wanted:
                assert isinstance(self._view.chosen, int)
                self._start_task(
                    self._ask_operator(self._view.chosen, wanted), f"reading session {self._view.chosen} …"
                )
            case "yes":
                asked = self._view.question
                assert asked is not None
                self._view = replace(self._view, question=None)
                self._start_task(self._send_signal(asked), f"{asked.signal} {asked.pid} …")

    def _change_pace(self, step: int) -> None:
        """Poll at the next longer or shorter interval that there is."""
        now = self._seen.interval
        others = [pace for pace in PACES if (pace - now) * step > 0]
        if others:
            now = min(others, key=lambda pace: abs(pace - now))
        self._seen = replace(self._seen, interval=now)
        self._runner.reconfigure(self._build_settings(now))
        self._view = replace(self._view, message=f"a poll every {now:g} s")
        self._wanted.set()

    def _start_task(self, errand: Coroutine[None, None, None], message: str) -> None:
        if self._errand is not None and not self._errand.done():
            errand.close()
            message = "the previous action is still in progress"
        else:
            self._errand = asyncio.create_task(errand)
        self._view = replace(self._view, message=message)

    async def _ask_operator(self, pid: int, wanted: Signal) -> None:
        self._is_acting = False
        said = await self._await_reply(self._asks(pid, wanted))
        if isinstance(said, ViewQuestion):
            self._view = replace(self._view, question=said, message="")
        else:
            self._show_notice(said)
        self._draw_screen()

    async def _send_signal(self, asked: ViewQuestion) -> None:
        self._is_acting = True
        said = await self._await_reply(self._acts(asked))
        assert not isinstance(said, ViewQuestion)
        self.done.extend(said)
        self._show_notice(said)
        self._draw_screen()

    def _show_notice(self, said: Said) -> None:
        self._view = replace(self._view, notice=said, message="")

    @staticmethod
    async def _await_reply(work: Awaitable[ViewQuestion | Said]) -> ViewQuestion | Said:
        try:
            return await work
        except PgdoctorError as error:
            return (str(error),)
        except Exception as error:
            log.exception("reading a session failed")
            return (f"internal error: {type(error).__name__}",)

    def _handle_resize(self) -> None:
        self._terminal.resize()
        self._draw_screen()

    def _draw_screen(self) -> None:
        if not self._over.is_set():
            seen = replace(self._seen, age=time.monotonic() - self._seen_at)
            self._terminal.draw(draw_screen(seen, self._view, *self._terminal.size))
