"""Incidents as they are remembered: an entry for each event, the latest of which says all of it.

While an incident goes on, its last entry is what the latest snapshot has shown; the next entry takes its place.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Literal

import msgspec
from msgspec.structs import replace

from pgdoctor.diagnosis.waiting_request import WaitingRequest
from pgdoctor.incidents.incident import Incident, IncidentEvent, Severity
from pgdoctor.incidents.incident_course import CoursePoint, RefusedSignal
from pgdoctor.incidents.incident_traces import IncidentTraces
from pgdoctor.model.snapshot import ServerInfo

#: The kind of the journal's records; their subject is the incident's id, their body an entry in JSON.
KIND = "incident"


class IncidentRecord(msgspec.Struct, frozen=True):
    """An event of an incident, as it is recorded. Times are the server's."""

    #: observed: it goes on, as of the latest snapshot.
    event: Literal["started", "continued", "recurred", "class_changed", "worsened", "observed", "ended"]
    id: str
    started: datetime
    at: datetime
    #: That have led it so far, in the order of their coming.
    classes: tuple[str, ...]
    peak: int
    #: Sessions that are blocked now.
    blocked: int = 0
    #: In seconds, as is how long it has lasted so far.
    longest_wait: float = 0.0
    seconds: float = 0.0
    #: Seconds of waiting, of all blocked sessions together.
    blocked_seconds: float = 0.0
    #: What the widest root blocks on, and what to do about it, in words; at the end as it was before.
    relation: str | None = None
    recommendation: str = "none"
    #: The server's name in the configuration, and the database that is connected to.
    server: str | None = None
    database: str | None = None
    #: Where that was connected to, as whom, and what ran there; None: not recorded.
    host: str | None = None
    port: int | None = None
    user: str | None = None
    cluster_name: str | None = None
    version_num: int | None = None
    in_recovery: bool | None = None
    #: Its end was not observed, for the agent was not running; it had lasted as long when it was last heard of.
    unseen: bool = False
    #: How often it came, as far as that was seen, and the request behind it; None: there was none.
    attempts: int = 1
    request: WaitingRequest | None = None
    #: By what it is known again; None: not recorded.
    traces: IncidentTraces | None = None
    #: How it went so far, and the signals that guards refused.
    course: tuple[CoursePoint, ...] = ()
    refused: tuple[RefusedSignal, ...] = ()

    @property
    def is_over(self) -> bool:
        """It has ended."""
        return self.event == "ended"

    @property
    def as_end(self) -> IncidentEvent:
        """The end that it tells of."""
        return IncidentEvent("ended", self.incident, self.at)

    @property
    def severity(self) -> Severity:
        """How bad it had been until then."""
        return self.incident.severity

    @property
    def incident(self) -> Incident:
        """The incident as it was then."""
        return Incident(
            self.id,
            self.started,
            self.classes,
            self.peak,
            self.longest_wait,
            blocked_seconds=self.blocked_seconds,
            attempts=self.attempts,
            request=self.request,
        )


_decode = msgspec.json.Decoder(IncidentRecord).decode


#: What an entry says of the server, beside its name in the configuration.
_OF_SERVER = ("database", "host", "port", "user", "cluster_name", "version_num", "in_recovery")


def build_server_fields(server: ServerInfo) -> dict[str, Any]:
    """What an entry says of a server, by field."""
    return {field: getattr(server, field) for field in _OF_SERVER}


def encode_entry(event: IncidentEvent, blocked: int, **known: Any) -> IncidentRecord:
    """The record of an event; `known` are relation, recommendation, traces, server, and what describes that."""
    return _build_record(event.kind, event.incident, event.at, blocked, known)


def encode_observation(incident: Incident, at: datetime, blocked: int, **known: Any) -> IncidentRecord:
    """The record of an incident that goes on; `known` as of an event."""
    return _build_record("observed", incident, at, blocked, known)


def _build_record(kind: Any, incident: Incident, at: datetime, blocked: int, known: dict[str, Any]) -> IncidentRecord:
    return IncidentRecord(
        event=kind,
        id=incident.id,
        started=incident.started,
        at=at,
        classes=incident.classes,
        peak=incident.peak_blocked,
        blocked=blocked,
        longest_wait=incident.longest_wait,
        seconds=incident.seconds_until(at),
        blocked_seconds=incident.blocked_seconds,
        attempts=incident.attempts,
        request=incident.request,
        **known,
    )


def read_entries(bodies: Iterable[bytes]) -> tuple[list[IncidentRecord], int]:
    """Entries as they were written, and how many of the bodies are none: damaged, or of another version."""
    found = [_decode_entry(body) for body in bodies]
    entries = [each for each in found if each is not None]
    return entries, len(found) - len(entries)


def _decode_entry(body: bytes) -> IncidentRecord | None:
    try:
        return _decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def latest_entries(entries: Iterable[IncidentRecord]) -> list[IncidentRecord]:
    """The last entry of each incident, in the order of their beginnings; two servers may each have one of an id."""
    found = {(each.server, each.id): each for each in entries}
    return sorted(found.values(), key=lambda each: each.started)


def closed_unobserved(last: IncidentRecord, at: datetime) -> IncidentRecord:
    """The end of an incident that was open when its agent went away."""
    return replace(last, event="ended", at=at, blocked=0, unseen=True)
