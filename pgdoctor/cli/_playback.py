"""`pgdoctor watch --from FILE`: the live view over the snapshots of a recorded incident, forward and back."""

import asyncio
import signal
from functools import lru_cache

from msgspec.structs import replace

from pgdoctor.cli._recorded import Recording
from pgdoctor.cli._terminal import Terminal
from pgdoctor.incidents.snapshot_archive import diagnose_again
from pgdoctor.render.incident_story import find_peak
from pgdoctor.render.incident_view import format_moment
from pgdoctor.render.live.screen import ScreenInput, draw_screen, list_lines, listed_rows
from pgdoctor.render.live.session_rows import list_rows
from pgdoctor.render.live.view import View, keep_view, press_key
from pgdoctor.render.report import make_report, without_sql

#: Snapshots whose judgement is kept.
_MOST_KEPT = 8

_STEPS = {"right": 1, "]": 1, "left": -1, "[": -1}
_ENDS = {"<": 0, ">": -1}

_NO_SIGNAL = "this is a recording: no session can be signalled"


class Playback:
    """From the snapshot with the most blocked sessions until `q`."""

    def __init__(self, terminal: Terminal, recording: Recording) -> None:
        self._terminal = terminal
        self._recording = recording
        self._place = recording.snapshots.index(find_peak(recording.snapshots))
        self._view = View(tab="blocked")
        self._judge = lru_cache(maxsize=_MOST_KEPT)(self._judge_snapshot)
        self._seen = ScreenInput()
        self._over = asyncio.Event()

    async def run(self) -> None:
        """Show and obey."""
        loop = asyncio.get_running_loop()
        loop.add_reader(0, self._read_keys)
        loop.add_signal_handler(signal.SIGWINCH, self._handle_resize)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
            loop.add_signal_handler(number, self._over.set)
        self._arrange_rows()
        try:
            self._draw_moment()
            await self._over.wait()
        finally:
            loop.remove_reader(0)

    def _read_keys(self) -> None:
        if self._terminal.is_gone:
            self._over.set()
            return
        for key in self._terminal.read_keys():
            self._obey_key(key)
            self._arrange_rows()
        self._draw_moment()

    def _obey_key(self, key: str) -> None:
        view = self._view
        # On the page of one session the left arrow leads back to the list.
        is_step = key in _STEPS and not view.is_typing and not (key == "left" and view.page != "list")
        if is_step or (key in _ENDS and not view.is_typing):
            self._handle_key(key)
            return
        pressed = press_key(view, key, listed_rows(self._seen, view), list_lines(self._terminal.size[1]))
        self._view = replace(pressed.view, tab="blocked", is_frozen=False)
        if pressed.wish == "quit":
            self._over.set()
        elif pressed.wish in ("cancel", "terminate"):
            self._view = replace(self._view, message=_NO_SIGNAL)

    def _handle_key(self, key: str) -> None:
        last = len(self._recording.snapshots) - 1
        to = _ENDS[key] % (last + 1) if key in _ENDS else self._place + _STEPS[key]
        message = "" if 0 <= to <= last else f"this is the {'last' if to > last else 'first'} snapshot"
        self._place = min(max(to, 0), last)
        self._view = replace(self._view, message=message)

    def _judge_snapshot(self, place: int) -> ScreenInput:
        snapshots = self._recording.snapshots
        diagnosis = diagnose_again(snapshots[place].stored)
        at = format_moment(snapshots[place].at)
        position = f"{self._recording.name}  snapshot {place + 1} of {len(snapshots)}, {at} UTC"
        return ScreenInput(diagnosis=diagnosis, report=without_sql(make_report(diagnosis)), recorded=position)

    def _arrange_rows(self) -> None:
        seen, view = self._judge(self._place), self._view
        assert seen.diagnosis is not None
        assert seen.report is not None
        rows = list_rows(seen.diagnosis, seen.report, view.order, is_grouped=view.is_grouped)
        self._seen = replace(seen, rows=rows)
        self._view = keep_view(view, listed_rows(self._seen, view))

    def _draw_moment(self) -> None:
        if not self._over.is_set():
            self._terminal.draw(draw_screen(self._seen, self._view, *self._terminal.size))

    def _handle_resize(self) -> None:
        self._terminal.resize()
        self._draw_moment()
