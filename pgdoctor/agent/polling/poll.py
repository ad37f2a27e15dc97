"""One poll of a server, from the gate to the diagnosis: what is asked, and when what was found before still stands."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

import msgspec
from msgspec.structs import replace

from pgdoctor.agent.polling.pacing import Pacing
from pgdoctor.agent.polling.poll_budget import PollBudget
from pgdoctor.agent.polling.state import Figures, add_gate, compute_figures
from pgdoctor.agent.polling.unchanged_waits import UnchangedWaits, age_figures
from pgdoctor.config.config import AgentSettings
from pgdoctor.diagnosis.diagnose import diagnose
from pgdoctor.diagnosis.finding import run_finding_checks
from pgdoctor.errors import ServerError, StatementFailed
from pgdoctor.model.anomaly_signals import Anomaly
from pgdoctor.model.diagnosis import Diagnosis
from pgdoctor.model.server_context import ServerContext
from pgdoctor.model.snapshot import JournalUse, Login, ServerInfo, Snapshot
from pgdoctor.postgres.collect import SHOWS_LOGINS, Collector, Gate, without_waits
from pgdoctor.postgres.connection import Connection
from pgdoctor.postgres.offload import offload
from pgdoctor.postgres.server_watch import ServerWatch

#: Seconds that a poll waits for what is read in other databases; later it is there for the next one.
_PATIENCE = 0.3

#: query_canceled (by its timeout), lock_not_available. Another error comes again each time: then the agent is blind.
_TOO_SLOW = frozenset({"57014", "55P03"})

_FAILED_LOOK = "the lock waits could not be read now"


class PollResult(msgspec.Struct, frozen=True):
    """What a poll has found. `latency`: seconds that the gate took to answer."""

    server: ServerInfo
    #: The server's clock.
    at: datetime
    #: Backends that may have waited for longer than the threshold.
    lock_waiters: int
    diagnosis: Diagnosis
    figures: Figures
    #: It was made now; else the full poll was not due, and this is what the last one found.
    is_new: bool
    latency: float
    #: It was not made now, and would be the same: only ages have moved, and the figures have those of now.
    is_unchanged: bool = False


class PollRunner:
    """Examines one server, over one connection after the other."""

    def __init__(self, settings: AgentSettings, pacing: Pacing) -> None:
        self.budget = PollBudget(settings.interval, settings.max_server_share)
        self._pacing = pacing
        self._settings = settings
        #: Of the present connection.
        self._watch: ServerWatch | None = None
        self._connection: Connection | None = None
        #: What is unusual, for the polls from now on.
        self.anomalies: tuple[Anomaly, ...] = ()
        #: How full the journal is, for the polls from now on.
        self.journal: JournalUse | None = None
        #: What the login probe says, for the polls from now on.
        self.login: Login | None = None
        #: The last gate on this connection that has counted all sessions.
        self._counted: Gate | None = None
        #: Logins that the gate does not see, as of the last poll for them.
        self._startup_waiters = 0
        #: That the server has counted since this process began; and the server with its counter, when last read.
        self.deadlocks = 0
        #: Full polls that the server has refused or cancelled.
        self.failed_full_polls = 0
        self._deadlocks_before: tuple[str, int] | None = None
        #: What the last poll on this connection found, or failed with.
        self._found: tuple[Diagnosis, Figures] | ServerError | None = None
        #: What the last full polls on this connection have found, as the gate sees it.
        self._unchanged = UnchangedWaits()

    @property
    def deadline(self) -> float:
        """Seconds that a statement may take."""
        return self._settings.deadline

    @property
    def read_at(self) -> float:
        """When the last poll had been read, and was yet to be judged, on the monotonic clock."""
        return self._watch.read_at if self._watch is not None else 0.0

    def reconfigure(self, settings: AgentSettings) -> None:
        """Go on with other settings; the recent cost of EXPLAIN still counts."""
        self._settings = settings
        self.budget = replace(self.budget, interval=settings.interval, share=settings.max_server_share)

    async def examine(
        self,
        connection: Connection,
        show_gate: Callable[[PollResult], object] | None = None,
        *,
        is_urgent: bool = False,
        may_stand: bool = False,
    ) -> PollResult:
        """Ask the gate, and read the locks if a session waits and the last poll is paid for, or this is urgent.

        `may_stand`: a diagnosis of some seconds ago will do while the gate shows no change. `show_gate` takes what the
        gate has found if the full poll takes longer than an interval. Raises ServerError.
        """
        watch = self._watch_through(connection)
        began = time.monotonic()
        gate = await self._ask_gate(connection, watch, began)
        latency = time.monotonic() - began
        gate = await self._with_logins(connection, watch.collector, gate, began)
        if may_stand and not is_urgent and self._still_holds(gate, began):
            return self._find_unchanged(gate, latency)
        is_new = gate.is_quiet or self._found is None or is_urgent or self.budget.may_poll_fully(began)
        if gate.is_quiet:
            self.budget = self.budget.without_paid_poll(began)
            self._found = await self._judge_snapshot(watch, await self._make_quiet_snapshot(watch.collector, gate))
        elif is_new:
            with self._showing_gate(watch, gate, latency, show_gate):
                self._found, is_new = await self._try_look(connection, watch, gate, began)
        if isinstance(self._found, ServerError):
            raise self._found.with_traceback(None)
        assert self._found is not None
        if not is_new:
            return self._find_by_gate(*self._found, watch, gate, latency)
        return PollResult(gate.server, gate.captured_at, gate.lock_waiters, *self._found, is_new, latency)

    def _still_holds(self, gate: Gate, began: float) -> bool:
        if gate.is_quiet or self._startup_waiters or gate.replay is not None or not isinstance(self._found, tuple):
            return False
        return self._unchanged.holds(gate, began, self.budget.gate_interval)

    def _find_unchanged(self, gate: Gate, latency: float) -> PollResult:
        """The diagnosis of an earlier full poll, with its numbers as they are by now."""
        assert isinstance(self._found, tuple)
        diagnosis, figures = self._found
        aged = age_figures(figures, (gate.captured_at - diagnosis.captured_at).total_seconds())
        return PollResult(
            gate.server, gate.captured_at, gate.lock_waiters, diagnosis, aged, False, latency, is_unchanged=True
        )

    @contextmanager
    def _showing_gate(
        self, watch: ServerWatch, gate: Gate, latency: float, show: Callable[[PollResult], object] | None
    ) -> Iterator[None]:
        """After an interval show what the gate has found, with what the last full poll on this connection has."""
        if show is None or not isinstance(self._found, tuple):
            yield
            return
        known = self._find_by_gate(*self._found, watch, gate, latency)
        showing = asyncio.get_running_loop().call_later(self.budget.gate_interval, show, known)
        try:
            yield
        finally:
            showing.cancel()

    def _find_by_gate(
        self, diagnosis: Diagnosis, counted: Figures, watch: ServerWatch, gate: Gate, latency: float
    ) -> PollResult:
        """The diagnosis of an earlier full poll with the numbers of the gate."""
        counted = add_gate(counted, watch.blocked_seconds, gate.lock_waiters, self._settings.wait_threshold)
        return PollResult(gate.server, gate.captured_at, gate.lock_waiters, diagnosis, counted, False, latency)

    async def _make_quiet_snapshot(self, collector: Collector, gate: Gate) -> Snapshot:
        """A snapshot without waits. In the first one at which it is this server's turn all is prepared for waits."""
        if collector.is_warm or not self._pacing.warm_ups.take(time.monotonic()):
            return without_waits(gate)
        return await collector.make_quiet_snapshot(gate)

    async def read_server_context(self, connection: Connection) -> None:
        """Read what stands around the waits, for the polls from now on, if that is due and it is this server's turn.

        Raises ServerError.
        """
        began, before = time.monotonic(), connection.cost.seconds
        if self._connection is not connection or self._watch is None or not self.budget.may_read_context(began):
            return
        if not self._pacing.context_reads.take(began):
            return
        try:
            await self._watch.read_server_context()
            await self._count_deadlocks(connection, self._watch.surroundings)
        finally:
            self.budget = self.budget.after_context_read(began, connection.cost.seconds - before)

    async def _count_deadlocks(self, connection: Connection, around: ServerContext | None) -> None:
        """Add those since the last reading of the counters of this server; after a reset of them, begin again."""
        if around is None or not around.work:
            return
        server, before = await connection.system_identifier(), self._deadlocks_before
        if before is not None and before[0] == server:
            self.deadlocks += max(around.deadlocks - before[1], 0)
        self._deadlocks_before = server, around.deadlocks

    def _watch_through(self, connection: Connection) -> ServerWatch:
        if self._watch is None or self._connection is not connection:
            # Behind another connection there may be another server.
            # Of the one before, what it knows of changes: a restart or a failover may lie in between.
            self._watch = ServerWatch(Collector(connection), self._watch.changes if self._watch is not None else None)
            self._connection, self._found, self._startup_waiters = connection, None, 0
            self._counted, self._unchanged = None, UnchangedWaits()
        collector = self._watch.collector
        collector.explains, collector.patience = self._settings.explain, _PATIENCE
        connection.looks_into_databases = self._settings.look_into_databases
        return self._watch

    async def _ask_gate(self, connection: Connection, watch: ServerWatch, now: float) -> Gate:
        """The gate; from the waiters alone while the last count of all sessions is not paid for."""
        before, threshold = connection.cost.seconds, self._settings.wait_threshold
        gate = None
        if self._counted is not None and not self.budget.may_count(now):
            gate = await watch.poll_waiters(threshold, self._counted)
        if gate is None:
            before_count = connection.cost.seconds
            gate = self._counted = await watch.poll_gate(threshold)
            self.budget = self.budget.after_count(now, connection.cost.seconds - before_count)
        self.budget = self.budget.after_gate(connection.cost.seconds - before)
        return gate

    async def _with_logins(self, connection: Connection, collector: Collector, gate: Gate, now: float) -> Gate:
        """The gate with the logins that wait. Found once, they count until a full poll finds none."""
        if gate.is_quiet and not self._startup_waiters and self.budget.may_check_logins(now):
            before = connection.cost.seconds
            try:
                self._startup_waiters = await collector.startup_waiters(self._settings.wait_threshold)
            finally:
                self.budget = self.budget.after_login_check(now, connection.cost.seconds - before)
        return replace(gate, lock_waiters=gate.lock_waiters + self._startup_waiters)

    async def _try_look(
        self, connection: Connection, watch: ServerWatch, gate: Gate, began: float
    ) -> tuple[tuple[Diagnosis, Figures], bool]:
        """What a full poll finds. If that took too long, the connection is good and the gate has answered: then what
        the last one found still stands, and that is said."""
        before, self._found = self._found, None
        earlier, self._unchanged = self._unchanged, UnchangedWaits()
        try:
            found = await self._judge_snapshot(
                watch, await self._read_snapshot(connection, watch.collector, gate, began)
            )
            self._watch_for_changes(earlier, watch.collector, found[0], began)
            return found, True
        except StatementFailed as error:
            if error.sqlstate not in _TOO_SLOW:
                raise
            if before is None or isinstance(before, ServerError) or not before[0].blockers:
                # Not for the observer to remember: that no wait was read says nothing of the waits.
                bare = diagnose(Snapshot(captured_at=gate.captured_at, server=gate.server))
                before = bare, compute_figures(None)
            self.failed_full_polls += 1
            return (_with_failed_look(before[0], f"{_FAILED_LOOK}: {error}"), before[1]), False

    def _watch_for_changes(
        self, earlier: UnchangedWaits, collector: Collector, diagnosis: Diagnosis, began: float
    ) -> None:
        """Have the gate watch the blockers, to know until when this diagnosis stands."""
        self._unchanged = earlier.after_full_poll(
            began, diagnosis, collector.activity_hashes, self._settings.wait_threshold
        )
        collector.watch_sessions(self._unchanged.watched)

    async def _read_snapshot(self, connection: Connection, collector: Collector, gate: Gate, began: float) -> Snapshot:
        before, size = connection.cost, None
        try:
            snapshot = await collector.run_full_poll(gate)
            size = connection.cost.received_bytes - before.received_bytes
            # Those that show in the activity are the gate's to count.
            starting = sum(session.is_starting for session in snapshot.sessions.values())
            self._startup_waiters = 0 if gate.server.version_num >= SHOWS_LOGINS else starting
        except ServerError as error:
            self._found = error
            raise
        finally:
            self.budget = self.budget.after_full_poll(began, connection.cost.seconds - before.seconds, size)
        return snapshot

    async def _judge_snapshot(self, watch: ServerWatch, snapshot: Snapshot) -> tuple[Diagnosis, Figures]:
        diagnosis = await watch.diagnose_snapshot(
            replace(snapshot, anomalies=self.anomalies, journal=self.journal, login=self.login)
        )
        return diagnosis, await offload(
            len(snapshot.sessions), compute_figures, diagnosis, self._settings.wait_threshold
        )


def _with_failed_look(diagnosis: Diagnosis, what: str) -> Diagnosis:
    """The diagnosis of an earlier full poll, which says that the present one has failed."""
    before = (each for each in diagnosis.snapshot.unread if not each.startswith(_FAILED_LOOK))
    snapshot = replace(diagnosis.snapshot, unread=(*before, what))
    findings = run_finding_checks(snapshot, diagnosis.graph, diagnosis.blockers)
    return replace(diagnosis, snapshot=snapshot, findings=findings)
