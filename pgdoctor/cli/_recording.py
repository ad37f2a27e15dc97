"""A recording: polls and incidents as an agent has them, in a journal that is gone afterwards."""

import asyncio
import logging
import signal
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
from msgspec.structs import replace

from pgdoctor.agent.log import install_logging
from pgdoctor.agent.polling.pacing import Pacing
from pgdoctor.agent.polling.server_monitor import MonitoredServer, ServerMonitor
from pgdoctor.agent.stored_incidents import read_incident
from pgdoctor.cli._options import DEADLINE
from pgdoctor.config.config import AgentSettings
from pgdoctor.errors import Unreachable
from pgdoctor.fields import Duration
from pgdoctor.incidents.export_file import DatedSnapshot, StoredIncident
from pgdoctor.incidents.incident_log import KIND, read_entries
from pgdoctor.incidents.snapshot_archive import pack_diagnosis, unpack_snapshot
from pgdoctor.incidents.snapshot_sampling import SampledSnapshot, SnapshotSeries
from pgdoctor.journal.keeper import Keeper
from pgdoctor.journal.store import Journal
from pgdoctor.mitigation.rules import Mitigation
from pgdoctor.model.diagnosis import Diagnosis
from pgdoctor.notify.notifier import Notifier
from pgdoctor.postgres.connection import Connection
from pgdoctor.postgres.offload import offload

#: Of one core of the server: what polls may take of it. More than an agent's, for it ends.
_SHARE = 0.1

#: Seconds until what was found last is in the journal.
_PATIENCE = 5.0


class Recorded(msgspec.Struct, frozen=True):
    """What was recorded; `quiet` is the last snapshot, where no session was blocked."""

    incidents: tuple[StoredIncident, ...]
    quiet: tuple[DatedSnapshot, ...]


async def record_server(dsn: str, length: float, interval: Duration, *, into_databases: bool) -> Recorded:
    """Record for `length` seconds, or until SIGINT or SIGTERM. Raises ServerError where the server cannot be asked."""
    install_logging("text")
    logging.getLogger().setLevel(logging.WARNING)
    async with await Connection.open(dsn, DEADLINE):
        pass
    settings = AgentSettings(interval=interval, max_server_share=_SHARE, look_into_databases=into_databases)
    with TemporaryDirectory(prefix="pgdoctor-") as folder:
        keeper = Keeper(Path(folder) / "journal.db")
        monitor = ServerMonitor(MonitoredServer(None, dsn, settings), Mitigation(), keeper, Notifier(()), Pacing())
        recording = _Recording(monitor)
        try:
            await recording.run(length, interval)
        finally:
            await asyncio.wrap_future(keeper.close())
        return recording.collect(keeper.path)


class _Recording:
    """Follows a monitor; keeps a snapshot of each new diagnosis, and fewer of a long incident."""

    def __init__(self, monitor: ServerMonitor) -> None:
        self._monitor = monitor
        self._series: dict[str, SnapshotSeries] = {}
        self._latest: Diagnosis | None = None

    async def run(self, length: float, interval: float) -> None:
        """Until the time is over, a signal comes, or the monitor ends by itself."""
        over = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, over.set)
        loop.call_later(length, over.set)
        self._monitor.start(over.set)
        while not over.is_set():
            _, _ = await asyncio.wait({asyncio.ensure_future(over.wait())}, timeout=interval / 2)
            await self._keep_snapshot()
        await self._monitor.write_down(_PATIENCE)
        self._monitor.stop()
        if self._monitor.task is not None:
            await asyncio.wait({self._monitor.task}, timeout=_PATIENCE)

    def collect(self, path: Path) -> Recorded:
        """What the journal has of the incidents, with the snapshots that were kept. Raises Unreachable."""
        if self._latest is None:
            raise Unreachable(self._monitor.poller.state.error or "the server was not polled")
        with closing(Journal.open(path)) as journal:
            records = journal.fetch_records(kinds=(KIND,))
            entries, _ = read_entries(record.body for record in records)
            server = records[0].server if records else ""
            found = [
                self._complete_incident(read_incident(journal, server, [each for each in entries if each.id == name]))
                for name in dict.fromkeys(each.id for each in entries)
            ]
        quiet = () if found else (_date_snapshot(pack_diagnosis(self._latest), self._latest),)
        return Recorded(tuple(found), quiet)

    def _complete_incident(self, incident: StoredIncident) -> StoredIncident:
        snapshots = {each.at: each for each in incident.snapshots}
        series = self._series.get(incident.id)
        for each in series.snapshots if series is not None else ():
            snapshots.setdefault(each.at, DatedSnapshot(each.at, unpack_snapshot(each.body)))
        return replace(incident, snapshots=tuple(snapshots[at] for at in sorted(snapshots)))

    async def _keep_snapshot(self) -> None:
        diagnosis, incident = self._monitor.poller.state.diagnosis, self._monitor.poller.incident
        if diagnosis is None or diagnosis is self._latest:
            return
        self._latest = diagnosis
        series = self._series.setdefault(incident.id, SnapshotSeries()) if incident is not None else None
        age = incident.seconds_until(diagnosis.captured_at) if incident is not None else 0.0
        if series is not None and series.wants_snapshot(age) and diagnosis.blocked_sessions:
            body = await offload(len(diagnosis.snapshot.sessions), pack_diagnosis, diagnosis)
            series.add(SampledSnapshot(diagnosis.blocked_sessions, diagnosis.captured_at, body), age)


def _date_snapshot(body: bytes, diagnosis: Diagnosis) -> DatedSnapshot:
    return DatedSnapshot(diagnosis.captured_at, unpack_snapshot(body))
