"""What `cancel`, `terminate` and the keys of `watch` do: read one session, and signal it once a person has agreed."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import msgspec

from pgdoctor.cli._mitigate_operations import stops_of_others
from pgdoctor.cli._options import DEADLINE
from pgdoctor.config.config import Config
from pgdoctor.enforcement.audit import Audit
from pgdoctor.enforcement.kill_switch import KillSwitchFile
from pgdoctor.enforcement.manual_signal import signal_by_person
from pgdoctor.enforcement.shared_record import SharedRecordAccess
from pgdoctor.journal.keeper import Keeper
from pgdoctor.mitigation.history import Signal
from pgdoctor.mitigation.manual_action import ManualAction, ManualOutcome, judge_manual_action
from pgdoctor.mitigation.shared_record import joined_brakes
from pgdoctor.model.snapshot import ServerInfo
from pgdoctor.postgres.collect import Collector
from pgdoctor.postgres.connection import Connection
from pgdoctor.postgres.server_watch import ServerWatch
from pgdoctor.postgres.session_by_pid import fetch_session
from pgdoctor.postgres.signal import has_wrapper_for_people


class ShownAction(msgspec.Struct, frozen=True):
    """What a person agrees to, or does not."""

    action: ManualAction
    server: ServerInfo
    #: Who has stopped all signals, in words; empty: no operator has.
    brakes: tuple[str, ...] = ()
    #: Why it could not be recorded; None: it can be.
    unrecorded: str | None = None


class ManualOperations:
    """Over one connection. `by`: who acts, for the audit."""

    def __init__(self, connection: Connection, config: Config, keeper: Keeper, by: str) -> None:
        self._door = connection
        self._config = config
        self._by = by
        self._watch = ServerWatch(Collector(connection))
        self._audit = Audit(keeper)
        self._sharing = SharedRecordAccess()
        self._kill_switch = KillSwitchFile(lambda: config.mitigation.kill_switch_file)

    async def show(self, signal: Signal, pid: int) -> ShownAction | None:
        """The session as it is now, with what the signal would do; None: there is none. Raises ServerError."""
        diagnosis = await self._watch.diagnose_server()
        found = await fetch_session(self._door, pid)
        if found is None:
            return None
        settings = self._config.mitigation
        session = found.session
        action = judge_manual_action(
            signal,
            session,
            diagnosis,
            settings,
            leader_pid=found.leader_pid,
            has_wrapper=session.may_signal is False and await has_wrapper_for_people(self._door),
        )
        server = diagnosis.snapshot.server
        if action.refusal is not None:
            return ShownAction(action, server)
        await self._audit.catch_up(self._door, diagnosis.captured_at)
        return ShownAction(action, server, tuple(await self.list_brakes()), self._audit.error)

    async def act(self, shown: ShownAction, *, despite_brakes: bool = False) -> ManualOutcome:
        """Do it, if the session is still the one that was shown; what came of it. Raises ServerError."""
        return await signal_by_person(
            self._door,
            self._watch,
            self._audit,
            shown.action,
            by=self._by,
            brakes=self.list_brakes,
            despite=shown.brakes if despite_brakes else (),
        )

    async def list_brakes(self) -> Sequence[str]:
        """Why no session is signalled at this server: all brakes, of the server and of the journal."""
        now = (await self._door.fetch("server_clock"))[0].now
        await self._audit.catch_up(self._door, now)
        await self._sharing.read_record(self._door, is_urgent=True)
        pulled = joined_brakes(self._sharing.shared, self._audit.brakes)
        until = pulled.maintenance_until
        said = (
            await self._kill_switch.read_reason(),
            pulled.kill_switch,
            f"maintenance until {until.isoformat(timespec='seconds')}" if until is not None and until > now else None,
            self._sharing.error,
        )
        return [*(each for each in said if each), *await stops_of_others(self._door)]


@asynccontextmanager
async def open_operations(dsn: str, config: Config, by: str) -> AsyncIterator[ManualOperations]:
    """Connect. Raises ServerError."""
    keeper = Keeper(config.journal.file, config.journal.max_size)
    try:
        async with await Connection.open(dsn, DEADLINE) as connection:
            connection.looks_into_databases = config.agent.look_into_databases
            yield ManualOperations(connection, config, keeper, by)
    finally:
        keeper.close()
