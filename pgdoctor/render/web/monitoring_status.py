"""How the agent itself is, beside what it has found: what the page needs to be believed, or not to be."""

from datetime import datetime

import msgspec

from pgdoctor.incidents.incident import Incident, IncidentEvent
from pgdoctor.mitigation.history import Action
from pgdoctor.model.server_context import ClientApplication
from pgdoctor.render.web.sparkline import RecentSeries


class Arming(msgspec.Struct, frozen=True):
    """Whether sessions may be signalled, and what keeps that from being so."""

    #: off, observe, dry_run, enforce, lapsed where enforce is no more than a dry run, disarmed where a reload failed.
    mode: str
    #: Why nothing is signalled at this moment though the mode says so, each in one line.
    held_back: tuple[str, ...] = ()
    #: The latest actions, the newest last.
    actions: tuple[Action, ...] = ()
    #: It holds the leader lock: of several agents at one server, it is the one that acts.
    leads: bool = False


class MonitoringStatus(msgspec.Struct, frozen=True):
    """How the agent is."""

    #: Why there is no diagnosis; None where there is one.
    error: str | None
    #: One of the states of a connection.
    connection: str
    #: Seconds since the last successful poll; None: there was none yet.
    age: float | None
    hidden_sessions: int
    arming: Arming
    version: str
    #: The name of the server; None where it is the only one.
    server: str | None = None
    #: Seconds since the full poll that is shown.
    looked: float = 0.0
    #: The incident that goes on; None: there is none.
    incident: Incident | None = None
    #: The ends of the latest incidents, the newest last.
    ended: tuple[IncidentEvent, ...] = ()
    #: The agent's clock; None: not known.
    now: datetime | None = None
    #: Connections and max_connections as of the last poll that succeeded, for when the server cannot be asked.
    slots: tuple[int, int] | None = None
    #: Whose connections they are, those with the most first.
    clients: tuple[ClientApplication, ...] = ()
    #: Of the last hour.
    recent: RecentSeries = RecentSeries()
