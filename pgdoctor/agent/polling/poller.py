"""The poll: one at a time, on the monotonic clock, and its result as one value that all other parts read."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial

from msgspec.structs import replace

from pgdoctor.agent.polling.counters import Counters
from pgdoctor.agent.polling.incident_recorder import IncidentRecorder, PolledDiagnosis
from pgdoctor.agent.polling.learning import Learning
from pgdoctor.agent.polling.login_probe import LoginProbe
from pgdoctor.agent.polling.pacing import Pacing
from pgdoctor.agent.polling.poll import PollResult, PollRunner
from pgdoctor.agent.polling.poll_budget import PollBudget
from pgdoctor.agent.polling.recent_history import RecentHistory
from pgdoctor.agent.polling.reconnector import Reconnector
from pgdoctor.agent.polling.state import ServerState
from pgdoctor.baseline.thresholds import signal_readings
from pgdoctor.config.config import AgentSettings
from pgdoctor.enforcement.mitigator import Mitigator
from pgdoctor.errors import ServerError
from pgdoctor.incidents.incident import (
    Incident,
    IncidentEvent,
    IncidentPoll,
    advance_incident,
    continue_incident,
    recur_incident,
)
from pgdoctor.incidents.incident_course import RefusedSignal
from pgdoctor.incidents.incident_log import IncidentRecord
from pgdoctor.incidents.incident_traces import AGAIN, IncidentTraces, is_continued, trace_incident
from pgdoctor.mitigation.decision import Decision
from pgdoctor.model.diagnosis import Diagnosis
from pgdoctor.model.server_context import LockStranger
from pgdoctor.model.snapshot import ServerInfo
from pgdoctor.postgres.connection import Connection, StatementCost
from pgdoctor.render.unreachable import what_to_do

log = logging.getLogger(__name__)

#: Seconds between two lines about the same trouble.
_REMINDER = 60.0

#: Seconds at the configured interval until that is said; a wait now and then does not make the log flap.
_CALM = 300.0

#: Seconds from a signal to the next poll: the seconds until release are measured more exactly than the interval.
_AFTER_A_SIGNAL = 0.1

#: Seconds between two polls while all that is left to do is to see an action to its end.
_SETTLING = 0.05

#: Incidents that are kept in memory, for the page.
_MOST_ENDED = 20

#: Seconds that the first poll of a server waits for the journal, which knows of incidents that were left open.
_RECALLING = 0.25


class Poller:
    """Polls until it is cancelled."""

    def __init__(
        self,
        connection: Reconnector,
        settings: AgentSettings,
        counters: Counters,
        mitigator: Mitigator,
        recorder: IncidentRecorder,
        learning: Learning,
        login_probe: LoginProbe,
        pacing: Pacing,
    ) -> None:
        self._login_probe = login_probe
        self._connection = connection
        self._runner = PollRunner(settings, pacing)
        self._mitigator = mitigator
        self._recorder = recorder
        self._learning = learning
        self._counters = counters
        self._state = ServerState()
        #: The one that goes on now.
        self.incident: Incident | None = None
        #: For the page.
        self.last_hour = RecentHistory()
        #: The ends of the latest ones, the newest last.
        self.ended: deque[IncidentEvent] = deque(maxlen=_MOST_ENDED)
        self._told_spaced = False
        self._spaced_at = 0.0
        self._costs: tuple[Connection, StatementCost] | None = None
        self._counted_at: float | None = None
        #: What the last poll with blocked sessions has shown of the incident, and the end of the last one.
        self._traces: IncidentTraces | None = None
        self._last_end: IncidentEvent | None = None
        #: Of the seconds of waiting, those that an incident reported.
        self._blocked_seconds = 0.0
        self._asked_at: float | None = None
        self._told: tuple[str, float] | None = None
        self._told_strangers: frozenset[LockStranger] = frozenset()
        self._wanted = asyncio.Event()
        self._wanted_since: float | None = None
        self._published = asyncio.Event()

    @property
    def state(self) -> ServerState:
        """What is known now; nothing that is too old."""
        return self._state.as_of(time.monotonic(), self._budget.gate_interval, self._runner.deadline)

    def reconfigure(self, settings: AgentSettings) -> None:
        """Go on with other settings, at once."""
        self._connection.use_deadline(settings.deadline)
        self._runner.reconfigure(settings)
        self._wanted.set()

    @property
    def _budget(self) -> PollBudget:
        return self._runner.budget

    async def recent(self, most_seconds: float, patience: float) -> ServerState:
        """What is known, of at most `most_seconds` ago if a poll gives that within `patience` seconds.

        All who ask wait for the same poll: once the first of them has given up, none waits for it any more.
        """
        now = time.monotonic()
        if now - self._state.tried_at > most_seconds:
            self._wanted.set()
            self._wanted_since = self._wanted_since or now
            with suppress(TimeoutError):
                async with asyncio.timeout(self._wanted_since + patience - now):
                    await self._published.wait()
        return self.state

    def ask(self) -> bool:
        """Have the next poll begin now, or use the running one; False where one was asked for an interval ago."""
        now = time.monotonic()
        if self._asked_at is not None and now - self._asked_at < self._budget.gate_interval:
            return False
        self._asked_at = now
        self._wanted.set()
        return True

    async def settle(self, patience: float) -> None:
        """Finish the running work, within `patience` seconds, and have nothing more begin."""
        self._mitigator.wind_down()
        with suppress(TimeoutError):
            async with asyncio.timeout(patience):
                while self._mitigator.is_busy:
                    self._wanted.set()
                    await asyncio.sleep(_SETTLING)

    async def run(self, phase: float = 0.0) -> None:
        """Poll for ever. A poll that is not over when the next is due makes that one be left out.

        `phase`: by which share of an interval the polls come later than those of other servers.
        """
        await asyncio.sleep(phase * self._budget.interval)
        due = time.monotonic()
        while True:
            await self._poll_server()
            self._log_intervals()
            due, missed = next_tick(due, self._budget.gate_interval, time.monotonic())
            self._counters.skipped += missed
            pause = due - time.monotonic()
            if self._mitigator.has_just_signalled:
                asyncio.get_running_loop().call_later(min(pause, _AFTER_A_SIGNAL), self._wanted.set)
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._wanted.wait()
                # The next one on time too: after a request to all servers they would all be polled at once.
                due -= self._budget.gate_interval

    async def _poll_server(self) -> None:
        last_attempt = time.time()
        # For a health check, which may cost one statement.
        is_extra = self._wanted.is_set()
        try:
            connection = await self._connection.connect()
            began = time.monotonic()
            try:
                state = await self._ask_server(connection, began, last_attempt, is_wanted=is_extra)
            finally:
                self._counters.durations.add(time.monotonic() - began)
                self._count_cost(connection)
        except ServerError as error:
            self._publish_state(self._note_failure(error.state, str(error), last_attempt))
        except Exception as error:
            # A fault of ours must neither end the agent nor look like a healthy server.
            log.exception("poll failed")
            self._publish_state(self._note_failure("error", f"internal error: {type(error).__name__}", last_attempt))
        else:
            self._publish_state(state)
            await self._mitigate_incident(connection)
            if not is_extra:
                await self._survey_server(connection)

    async def _ask_server(
        self, connection: Connection, began: float, last_attempt: float, *, is_wanted: bool
    ) -> ServerState:
        self._runner.login = self._login_probe.result
        show_gate = partial(self._publish_gate, began, last_attempt)
        # Decisions rest on a full poll, each of them.
        may_stand = not is_wanted and not self._mitigator.judges_each_poll
        result = await self._runner.examine(
            connection, show_gate, is_urgent=self._mitigator.needs_a_look, may_stand=may_stand
        )
        self._tell_connected(result.server)
        self._log_failed_poll(result.diagnosis)
        self._count_waiting(result, began)
        if result.is_new:
            self._tell_strangers(result.diagnosis)
            await self._follow_incident(await connection.system_identifier(), result)
        elif result.is_unchanged and self.incident is not None:
            self._age_incident(self.incident, await connection.system_identifier(), result)
        await self._learn_baselines(result, connection)
        return self._make_state(result, began, last_attempt, time.monotonic() - began)

    def _publish_gate(self, began: float, last_attempt: float, result: PollResult) -> None:
        """Show what the gate has found, while the full poll takes longer than an interval."""
        self._publish_state(self._make_state(result, began, last_attempt, self._runner.deadline))

    def _make_state(self, result: PollResult, began: float, last_attempt: float, duration: float) -> ServerState:
        return ServerState(
            connection="connected",
            error=None,
            server=result.server,
            diagnosis=self._with_traces(result.diagnosis),
            figures=result.figures,
            slots=(result.server.connections, result.server.max_connections),
            scores=self._learning.thresholds.scores,
            login=self._runner.login,
            last_success=time.time(),
            last_attempt=last_attempt,
            tried_at=time.monotonic(),
            found_at=began,
            looked_at=began if result.is_new else self._state.looked_at,
            looked_time=last_attempt if result.is_new else self._state.looked_time,
            latency=result.latency,
            duration=duration,
        )

    async def _learn_baselines(self, result: PollResult, connection: Connection) -> None:
        found = result.figures
        values = signal_readings(result.server, result.lock_waiters, found.blocked_sessions, found.oldest_wait)
        server, incident = await connection.system_identifier(), self.incident is not None
        self._learning.observe(server, values, result.at.timestamp(), incident=incident)
        self._runner.anomalies = self._learning.thresholds.anomalies
        self._runner.journal = self._learning.journal

    def _count_cost(self, connection: Connection) -> None:
        before = self._costs[1] if self._costs and self._costs[0] is connection else StatementCost()
        self._counters.add_cost(before, connection.cost)
        self._costs = connection, connection.cost

    def _count_waiting(self, result: PollResult, began: float) -> None:
        """Integrate; but not over a time in which we were blind, since a poll failed, hung, or this process did."""
        if self._counted_at is None or not self.state.up:
            self._counted_at = time.monotonic()
            return
        found = result.figures
        self._counters.add_blocked(found.blocked_sessions, found.blocked_by_class, max(began - self._counted_at, 0.0))
        self._counted_at = began

    def remember(self, earlier: Sequence[IncidentEvent]) -> None:
        """Take in the ends of before this process, the newest last."""
        self.ended = deque((*earlier, *self.ended), _MOST_ENDED)

    def _age_incident(self, incident: Incident, server: str, result: PollResult) -> None:
        """Take the incident further by a poll in which only its age has changed."""
        found, waited = result.figures, self._counters.blocked_seconds
        poll = IncidentPoll(
            result.at,
            found.blocked_sessions,
            found.leading,
            found.oldest_wait,
            waited - self._blocked_seconds,
            incident.request,
        )
        self._blocked_seconds = waited
        self.incident, events = advance_incident(incident, poll)
        self._tell_events(events)
        if events:
            self._record_incident(server, result, events, ())

    async def _follow_incident(self, server: str, result: PollResult) -> None:
        """Take the incident one poll further, once it is known what an earlier agent has left open."""
        left = await self._recorder.recall(server, _RECALLING)
        if left is None:
            return
        found, waited = result.figures, self._counters.blocked_seconds
        now = trace_incident(result.diagnosis) if found.blocked_sessions else None
        poll = IncidentPoll(
            result.at,
            found.blocked_sessions,
            found.leading,
            found.oldest_wait,
            waited - self._blocked_seconds,
            now.request if now is not None else None,
        )
        self._blocked_seconds = waited
        continued = self._find_continued(left, now)
        if continued is not None:
            self.incident, events = continue_incident(continued.incident, poll)
        elif (ended := self._find_ended(now)) is not None:
            self.incident, events = recur_incident(ended.incident, ended.at, poll)
        else:
            self.incident, events = advance_incident(self.incident, poll)
        self._traces = now or self._traces
        self._tell_events(events)
        self._record_incident(server, result, events, tuple(each for each in left if each is not continued))

    def _find_ended(self, now: IncidentTraces | None) -> IncidentEvent | None:
        """The end of the last incident, where this poll shows that incident again."""
        ended = self._last_end
        if self.incident is not None or now is None or ended is None or self._traces is None:
            return None
        return ended if now.at - ended.at <= AGAIN and is_continued(self._traces, now) else None

    def _find_continued(self, left: Sequence[IncidentRecord], now: IncidentTraces | None) -> IncidentRecord | None:
        """Which of the incidents that were left open is the one that this poll shows."""
        if self.incident is not None or now is None:
            return None
        return next((each for each in reversed(left) if each.traces and is_continued(each.traces, now)), None)

    def _tell_events(self, events: Sequence[IncidentEvent]) -> None:
        for event in events:
            self._counters.add_event(event, time.time())
            facts: dict[str, object] = {"incident": event.incident.id, "classes": list(event.incident.classes)}
            if event.kind == "ended":
                earlier = (each for each in self.ended if each.incident.id != event.incident.id)
                self.ended = deque((*earlier, event), _MOST_ENDED)
                self._last_end = event
                facts |= {"seconds": event.incident.seconds_until(event.at), "peak": event.incident.peak_blocked}
            log.info("incident %s", event.kind.replace("_", " "), extra=facts)

    def _record_incident(
        self, server: str, result: PollResult, events: tuple[IncidentEvent, ...], lost: tuple[IncidentRecord, ...]
    ) -> None:
        blocked = result.figures.blocked_sessions
        refused = tuple(find_refused(self._mitigator.plan.decisions, result.at))
        self._recorder.see(
            PolledDiagnosis(server, result.at, self.incident, events, result.diagnosis, blocked, lost, refused)
        )

    async def _mitigate_incident(self, connection: Connection) -> None:
        state = self.state
        # Judged once: a session has to be found in as many polls as the rules require.
        is_new = state.looked_at == state.found_at
        if state.diagnosis is None or not is_new:
            return
        try:
            await self._mitigator.consider(state.diagnosis, connection, self._runner.read_at)
            if self._mitigator.has_just_signalled and self.incident is not None:
                self._recorder.acknowledge(self.incident)
        except ServerError as error:
            log.error("mitigation failed", extra={"error": str(error)})
        except Exception:
            log.exception("mitigation failed")
        finally:
            self._counters.add_releases(self._mitigator.settled)

    def _with_traces(self, diagnosis: Diagnosis) -> Diagnosis:
        """With what our own actions have left behind, as of the poll before."""
        left = self._mitigator.findings
        return replace(diagnosis, findings=(*diagnosis.findings, *left)) if left else diagnosis

    async def _survey_server(self, connection: Connection) -> None:
        """After all that is urgent. A failure here without a server fails again in the next poll, and is reported."""
        try:
            with suppress(ServerError):
                await self._runner.read_server_context(connection)
            self._counters.deadlocks = self._runner.deadlocks
        except Exception:
            log.exception("state of the whole server not read")
        finally:
            self._count_cost(connection)

    def _tell_connected(self, server: ServerInfo) -> None:
        if self._told is None and self._state.last_success is not None:
            return
        log.info("connected", extra={"server_version": server.version_num, "hidden_sessions": server.hidden_sessions})
        self._told = None

    def _log_failed_poll(self, diagnosis: Diagnosis) -> None:
        """Once for each full poll that the server has refused."""
        if self._runner.failed_full_polls > self._counters.failed_full_polls:
            log.warning("full poll failed", extra={"error": diagnosis.snapshot.unread[-1]})
        self._counters.failed_full_polls = self._runner.failed_full_polls

    def _log_intervals(self) -> None:
        """Log once when full polls become less frequent, and once when every interval has one again."""
        budget, now = self._budget, time.monotonic()
        self._counters.poll_interval = budget.full_poll_interval
        if budget.full_poll_interval > budget.interval:
            self._spaced_at = now
        is_calm = now - self._spaced_at >= _CALM
        if budget.full_poll_interval > 2 * budget.interval and not self._told_spaced:
            every = round(budget.full_poll_interval, 1)
            extra = {"seconds_between_looks": every, "seconds_of_the_last": round(budget.full_poll_seconds, 3)}
            log.warning("polls exceed max_server_share: full polls are less frequent", extra=extra)
            self._told_spaced = True
        elif self._told_spaced and is_calm:
            log.info("full polls are back to the configured interval")
            self._told_spaced = False

    def _tell_strangers(self, diagnosis: Diagnosis) -> None:
        """Name each stranger in the leader election once, for as long as it is there."""
        around = diagnosis.snapshot.surroundings
        strangers = frozenset(around.lock_strangers) if around else frozenset()
        for stranger in strangers - self._told_strangers:
            extra = {
                "pid": stranger.pid,
                "gid": stranger.gid,
                "usename": stranger.user,
                "client_addr": stranger.address,
                "application_name": stranger.application,
                "datname": stranger.database,
                "locks": stranger.locks,
            }
            level = logging.WARNING if stranger.may_signal else logging.CRITICAL
            log.log(level, "a session other than pgdoctor holds a lock of the leader election", extra=extra)
        self._told_strangers = strangers

    def _note_failure(self, connection: str, error: str, last_attempt: float) -> ServerState:
        self._counted_at = None
        now = time.monotonic()
        if self._told is None or self._told[0] != connection or now - self._told[1] >= _REMINDER:
            extra = {"state": connection, "error": error, "advice": what_to_do(connection)}
            log.warning("server cannot be polled", extra=extra)
            self._told = connection, now
        return ServerState(
            connection=connection,
            error=error,
            slots=self._state.slots,
            last_success=self._state.last_success,
            last_attempt=last_attempt,
            looked_time=self._state.looked_time,
            tried_at=now,
        )

    def _publish_state(self, state: ServerState) -> None:
        self._state = state
        if state.figures is not None and state.server is not None:
            self.last_hour.add(time.monotonic(), state.figures.blocked_sessions, state.server.connections)
        # Not later: who wants one while the poll still acts, or surveys, wants the next.
        self._wanted.clear()
        self._wanted_since = None
        published, self._published = self._published, asyncio.Event()
        published.set()


def find_refused(decisions: Iterable[Decision], at: datetime) -> Iterator[RefusedSignal]:
    """The signals that rules ask for and guards refuse for more than a moment."""
    for each in decisions:
        if each.rule is not None and each.signal is not None and each.lasting:
            objecting = (verdict for verdict in each.objections if verdict.guard in each.lasting)
            reasons = tuple(f"{verdict.guard}: {verdict.objection}" for verdict in objecting)
            yield RefusedSignal(at, each.signal, each.pid, each.rule.name, reasons)


def next_tick(due: float, interval: float, now: float) -> tuple[float, int]:
    """When the next poll is due, and how many were missed while the one that was due at `due` ran."""
    missed = max(int((now - due) / interval), 0)
    return due + (missed + 1) * interval, missed
