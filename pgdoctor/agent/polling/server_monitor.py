"""All about one server: its connection, its polls, what they count and what acts on them; and the set of all servers.

Each server has its own of everything and fails alone: a hang of one delays no other server.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from functools import partial

import msgspec
from msgspec.structs import replace

from pgdoctor.agent.metrics import MetricsSource
from pgdoctor.agent.polling.counters import Counters
from pgdoctor.agent.polling.incident_recorder import IncidentRecorder
from pgdoctor.agent.polling.learning import Learning
from pgdoctor.agent.polling.login_probe import FREE_SLOTS, LoginProbe
from pgdoctor.agent.polling.pacing import Pacing
from pgdoctor.agent.polling.poller import Poller
from pgdoctor.agent.polling.reconnector import DsnFile, Reconnector
from pgdoctor.config.config import AgentSettings, Config, ServerSettings
from pgdoctor.enforcement.kill_switch import KillSwitchFile
from pgdoctor.enforcement.mitigator import Mitigator
from pgdoctor.errors import UsageError
from pgdoctor.incidents.incident import IncidentEvent
from pgdoctor.journal.keeper import Keeper
from pgdoctor.mitigation.rules import Mitigation
from pgdoctor.notify.notifier import Notifier

log = logging.getLogger(__name__)

#: The server that the present task is about.
_SERVER: ContextVar[str | None] = ContextVar("server", default=None)


class MonitoredServer(msgspec.Struct, frozen=True):
    """A server that is to be watched. `name` None: there is only the one of --dsn or the environment."""

    name: str | None
    dsn: str | DsnFile
    settings: AgentSettings


def monitored_servers(config: Config, dsn: str | DsnFile) -> tuple[MonitoredServer, ...]:
    """Whom to watch. Raises UsageError where both a configuration's servers and a `dsn` are given."""
    if not config.servers:
        return (MonitoredServer(None, dsn, config.agent),)
    if dsn:
        raise UsageError(
            "[[servers]] in the configuration and a DSN (--dsn, --dsn-file, PGDOCTOR_DSN or PGDOCTOR_DSN_FILE) "
            "exclude each other"
        )
    return tuple(_make_target(each, config.agent) for each in config.servers)


def _make_target(server: ServerSettings, settings: AgentSettings) -> MonitoredServer:
    own = {key: value for key in ("interval", "deadline") if (value := getattr(server, key)) is not None}
    dsn = DsnFile(server.dsn_file) if server.dsn_file else server.conninfo
    return MonitoredServer(server.name, dsn, replace(settings, **own))


class ServerMonitor:
    """Watches one server from `start` to `stop`."""

    def __init__(
        self,
        target: MonitoredServer,
        mitigation: Mitigation,
        keeper: Keeper,
        notifier: Notifier,
        pacing: Pacing,
        *,
        armed: bool = False,
    ) -> None:
        self.name = target.name
        self.counters = Counters()
        self.keeper = keeper
        self.mitigator = Mitigator(
            mitigation,
            keeper,
            unattended=True,
            armed=armed,
            brake=KillSwitchFile(lambda: self.mitigator.settings.kill_switch_file).read_reason,
        )
        self._connection = Reconnector(target.dsn, target.settings.deadline)
        self._recorder = IncidentRecorder(target.name, keeper, notifier, self._remember_incidents)
        self._learning = Learning(keeper)
        settings = target.settings
        self._login_probe = LoginProbe(
            self._connection.read_dsn, self._may_log_in, settings.login_probe_interval, settings.deadline
        )
        self.poller = Poller(
            self._connection,
            settings,
            self.counters,
            self.mitigator,
            self._recorder,
            self._learning,
            self._login_probe,
            pacing,
        )
        self.task: asyncio.Task[None] | None = None

    @property
    def system_identifier(self) -> str | None:
        """The identity of the server; None: it was not reached yet."""
        return self._recorder.server

    @property
    def watched(self) -> MetricsSource:
        """What its metrics are made of, now."""
        return MetricsSource(self.name, self.poller.state, self.counters, self.mitigator)

    def start(self, at_fault: Callable[[], None], phase: float = 0.0) -> None:
        """Poll until `stop`; `at_fault` is called should it end by itself.

        `phase`: by which share of an interval the polls come later than those of other servers.
        """
        self.task = asyncio.create_task(self._run_poller(phase))
        self.task.add_done_callback(partial(self._note_end, at_fault))

    def stop(self) -> None:
        """Break off, at once and whatever the server does."""
        if self.task is not None:
            self.task.cancel()

    async def write_down(self, patience: float) -> None:
        """Wait until what was seen of incidents is in the journal, for `patience` seconds at most."""
        await self._recorder.drain(patience)

    def reconfigure(self, target: MonitoredServer, mitigation: Mitigation) -> None:
        """Go on with other settings, or over another way to the server."""
        settings, moved = target.settings, self._connection.use_dsn(target.dsn)
        self._login_probe.reconfigure(settings.login_probe_interval, settings.deadline, forget=moved)
        self.poller.reconfigure(settings)
        self.mitigator.reconfigure(mitigation)

    async def _run_poller(self, phase: float) -> None:
        _SERVER.set(self.name)
        beside = [asyncio.create_task(self._recorder.run()), asyncio.create_task(self._login_probe.run(phase))]
        try:
            await self.poller.run(phase)
        finally:
            for task in beside:
                task.cancel()
            await self.mitigator.record_unfinished_action()
            await self._learning.end()

    def _may_log_in(self) -> bool:
        """The agent is connected, and slots are free."""
        state = self.poller.state
        if state.server is None or state.diagnosis is None:
            return False
        around = state.diagnosis.snapshot.surroundings
        standing = around.standing if around else None
        reserved = standing.reserved_connections if standing else 0
        return state.server.max_connections - reserved - state.server.connections >= FREE_SLOTS

    def _remember_incidents(self, ended: Sequence[IncidentEvent]) -> None:
        self.poller.remember(ended)

    def _note_end(self, at_fault: Callable[[], None], task: asyncio.Task[None]) -> None:
        self._connection.drop()
        if not task.cancelled():
            at_fault()


class ServerMonitors:
    """All servers, by name. They start with `start`, and come and go with the configuration from then on."""

    def __init__(
        self,
        wanted: Sequence[MonitoredServer],
        mitigation: Mitigation,
        keeper: Keeper,
        notifier: Notifier,
        *,
        armed: bool = False,
    ) -> None:
        self._keeper = keeper
        self._notifier = notifier
        self._armed = armed
        self._at_fault: Callable[[], None] | None = None
        self._monitors: dict[str | None, ServerMonitor] = {}
        self._pacing = Pacing()
        #: Why no session may be signalled at any server, and by which operator; None: no such order is in force.
        self._order: tuple[str, str] | None = None
        self.reconfigure(wanted, mitigation)

    def __iter__(self) -> Iterator[ServerMonitor]:
        return iter(tuple(self._monitors.values()))

    def __len__(self) -> int:
        return len(self._monitors)

    def find_monitor(self, name: str) -> ServerMonitor | None:
        """The one of that name."""
        return self._monitors.get(name)

    def start(self, at_fault: Callable[[], None]) -> None:
        """Watch them all; `at_fault` is called should one end by itself."""
        self._at_fault = at_fault
        for place, monitor in enumerate(self):
            monitor.start(at_fault, place / len(self))

    async def stop(self, patience: float) -> None:
        """Finish running actions within `patience` seconds; then break off everywhere."""
        tasks = [monitor.task for monitor in self if monitor.task is not None]
        await asyncio.gather(*(monitor.poller.settle(patience) for monitor in self))
        for monitor in self:
            monitor.stop()
        if tasks:
            await asyncio.wait(tasks, timeout=patience / 2)

    def reconfigure(self, wanted: Sequence[MonitoredServer], mitigation: Mitigation) -> None:
        """Watch exactly these servers. A server that stays keeps its connection, counts and memory."""
        if not any(monitor.mitigator.is_disarmed for monitor in self):
            # An operator has armed since.
            self._order = None
        before, self._monitors = self._monitors, {}
        self._pacing.use(len(wanted))
        for place, target in enumerate(wanted):
            monitor = before.pop(target.name, None)
            if monitor is None:
                monitor = ServerMonitor(
                    target, mitigation, self._keeper, self._notifier, self._pacing, armed=self._armed
                )
                if self._order is not None:
                    monitor.mitigator.disarm(*self._order)
                if self._at_fault is not None:
                    monitor.start(self._at_fault, place / len(wanted))
                    log.info("server added", extra={"server": target.name})
            else:
                monitor.reconfigure(target, mitigation)
            self._monitors[target.name] = monitor
        for gone in before.values():
            gone.stop()
            log.info("server removed", extra={"server": gone.name})

    def stop_acting(self, reason: str, by: str) -> None:
        """Signal no session until an operator arms again, also at servers that are added before."""
        self._order = reason, by
        for monitor in self:
            monitor.mitigator.disarm(reason, by)

    async def write_down(self) -> bool:
        """Whether that is on the disk now, for each server."""
        return all(await asyncio.gather(*(monitor.mitigator.write_down() for monitor in self)))

    def disarm(self, mitigation: Mitigation) -> None:
        """Go on without signals until the next `reconfigure`; not `stop_acting`, which is for good."""
        if mitigation.mode != "off":
            for monitor in self:
                monitor.mitigator.reconfigure(replace(mitigation, mode="observe"))


def say_server(record: logging.LogRecord) -> bool:
    """A logging filter that lets everything pass, and says which server a line is about."""
    name = _SERVER.get()
    if name is not None and not hasattr(record, "server"):
        record.server = name
    return True
