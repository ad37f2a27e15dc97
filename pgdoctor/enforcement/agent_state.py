"""Who we are at one server, now: whether we lead and may signal, and which brakes hold."""

import time
from collections.abc import Awaitable, Callable, Iterator

from msgspec.structs import replace

from pgdoctor.enforcement.audit import Audit
from pgdoctor.enforcement.leader import LeaderElection
from pgdoctor.enforcement.observation import Observation
from pgdoctor.enforcement.shared_record import SharedRecordAccess
from pgdoctor.errors import StatementFailed
from pgdoctor.fields import Qualified
from pgdoctor.mitigation.audit_records import Brakes
from pgdoctor.mitigation.circumstances import AgentState, mode_in_force
from pgdoctor.mitigation.match import Ancestors
from pgdoctor.mitigation.protected_names import NameInUse, find_unresolved, protected_names
from pgdoctor.mitigation.rules import Mitigation, Mode
from pgdoctor.mitigation.shared_record import joined_brakes
from pgdoctor.postgres.connection import Connection
from pgdoctor.postgres.protected_names import fetch_ancestors, fetch_known_names
from pgdoctor.postgres.relations_elsewhere import RelationFinder, RelationsElsewhere
from pgdoctor.postgres.signal import fetch_signal_right

#: Seconds between two look-ups of protected names while no session is blocked.
_LOOK_UP_AGAIN = 30.0

#: Says why no session is to be signalled, if so.
Brake = Callable[[], Awaitable[str | None]]


class AgentStateReader:
    """Asks the server and the brakes. Raises ServerError where the server cannot be asked."""

    def __init__(
        self, audit: Audit, sharing: SharedRecordAccess, brake: Brake | None, *, unattended: bool, armed: bool
    ) -> None:
        self.leader = LeaderElection()
        #: It was given the second key that enforce needs.
        self.armed = armed
        #: There are functions on the server that signal, as of the last time it was asked.
        self.has_wrapper = False
        self._audit = audit
        self._sharing = sharing
        self._brake = brake
        self._unattended = unattended
        #: What protected names were looked up last, where, when, and which of them the server does not have.
        self._looked_up: tuple[tuple[NameInUse, ...], Connection, float, tuple[str, ...]] | None = None
        self._relations = RelationFinder()

    async def read_brakes(self) -> Brakes:
        """What was pulled, and holds, as far as is known here."""
        pulled = None if self._brake is None else await self._brake()
        return replace(self.pulled, kill_switch=pulled) if pulled else self.pulled

    @property
    def pulled(self) -> Brakes:
        """The brakes without the kill-switch file."""
        is_untold = bool(self._audit.untold)
        return joined_brakes(self._sharing.shared, self._audit.brakes, is_untold=is_untold)

    async def read_state(self, observation: Observation, settings: Mitigation) -> AgentState:
        """All of it, for a plan that is made now; tries to become the leader where the mode requires it."""
        if observation.connection is None:
            return AgentState(armed=False)
        acting = self.choose_mode(observation, settings)
        leads = True
        # Through a pooler the lock would stay with one of its connections, and no other pgdoctor could lead.
        if settings.mode in ("dry_run", "enforce") and not observation.is_pooled:
            leads = await self.leader.try_to_lead(observation.connection, acting, observation.now)
        else:
            await self.leader.resign_leadership()
        ours = await fetch_signal_right(observation.connection) if observation.diagnosis.blockers else None
        self.has_wrapper = ours is not None and ours.has_wrapper
        unresolved = await self._find_unresolved(observation, observation.connection, settings)
        ancestors = await _fetch_ancestors(observation, observation.connection, settings)
        brakes = await self.read_brakes()
        return AgentState(
            leader=leads,
            rival=self.leader.rival,
            kill_switch=brakes.kill_switch,
            maintenance_until=brakes.maintenance_until,
            armed=self.armed,
            may_signal=ours.may_signal if ours else None,
            has_wrapper=self.has_wrapper,
            superuser=self._unattended and ours is not None and ours.is_superuser,
            pooled=observation.is_pooled,
            audit=self._audit.error if acting == "enforce" else None,
            shared=self._sharing.error if acting == "enforce" else None,
            watching_since=self.leader.since if self._unattended else None,
            sample_age=time.monotonic() - observation.read_at,
            unresolved=unresolved,
            ancestors=ancestors,
        )

    async def _find_unresolved(
        self, observation: Observation, connection: Connection, settings: Mitigation
    ) -> tuple[str, ...]:
        """Names of protections that the server does not have, in words; looked up again before each signal."""
        names = protected_names(settings)
        if not names:
            return ()
        now, last = time.monotonic(), self._looked_up
        if (
            last
            and not observation.diagnosis.blockers
            and last[:2] == (names, connection)
            and now - last[2] < _LOOK_UP_AGAIN
        ):
            return last[3]
        try:
            unresolved = await fetch_unresolved(connection, names, self._relations)
        except StatementFailed as error:
            unresolved = (f"the names in protections could not be looked up: {error}",)
        self._looked_up = names, connection, now, unresolved
        return unresolved

    def choose_mode(self, observation: Observation, settings: Mitigation) -> Mode:
        """The mode that is in force; on paper nothing more than a dry run."""
        return mode_in_force(
            settings, AgentState(armed=self.armed and observation.connection is not None), observation.now
        )


async def fetch_unresolved(
    connection: Connection, names: tuple[NameInUse, ...], finder: RelationFinder
) -> tuple[str, ...]:
    """Which of these names mean nothing at a server, in words. Raises ServerError."""
    roles = [each.name for each in names if each.kind in ("usename", "member_of")]
    databases = [each.name for each in names if each.kind == "datname"]
    relations = {each.name: Qualified.parse(each.name).parts for each in names if each.kind == "relation"}
    known = await fetch_known_names(connection, roles, databases, list(relations.values()))
    present = {str(Qualified.parse(name)) for name in known.relations}
    missing = [parts for name, parts in relations.items() if name not in present]
    found = await finder.find(connection, missing) if missing else RelationsElsewhere()
    here = f"{connection.connection.info.dbname}, the database that pgdoctor is connected to"
    # The connected database comes last, and so counts.
    return find_unresolved(
        names,
        known.roles,
        known.databases,
        {**found.kinds, **known.relations},
        ", ".join(filter(None, (here, found.where))),
    )


async def _fetch_ancestors(observation: Observation, connection: Connection, settings: Mitigation) -> Ancestors | None:
    """The tables above those that blockers hold or ask for; None where they cannot be read."""
    if not any(entry.relation for entry in settings.protect):
        return {}
    try:
        found = await fetch_ancestors(connection, _held_relations(observation))
    except StatementFailed:
        return None
    return {oid: frozenset(map(Qualified.parse, names)) for oid, names in found.items()}


def _held_relations(observation: Observation) -> Iterator[int]:
    snapshot = observation.diagnosis.snapshot
    for blocker in observation.diagnosis.blockers:
        for lock in blocker.session.locks if blocker.session else ():
            table = snapshot.table_of(lock)
            if table is not None and snapshot.is_here(lock):
                yield table.oid
