"""An incident: from the first poll that finds a blocked session to the first of two in a row that find none.

    none ─▶ started ─▶ (continued | class_changed | worsened)* ─▶ ended ─▶ (recurred ─▶ … ─▶ ended)*

It is critical once ten sessions were blocked at the same time, or one has waited for a minute; until then it is a
warning. One that comes back soon is the same incident: a migration that tries again and again is one story, and from
its second attempt on the incident lasts through the pauses. The parts that keep, show or send incidents follow its
events. Times are the server's.
"""

from datetime import datetime, timedelta
from typing import Literal

import msgspec
from msgspec.structs import replace

from pgdoctor.diagnosis.waiting_request import WaitingRequest

#: Polls in a row without a blocked session after which it is over: between two waits of one trouble there may be a gap.
_QUIET_LOOKS = 2

#: What makes it critical: sessions that are blocked at the same time; seconds that one of them has waited.
CRITICAL_SESSIONS = 10
CRITICAL_SECONDS = 60.0

#: Of the pause between two attempts, how much longer the next may be before an incident that came back is over; in
#: seconds at least, and at most.
_PAUSES = 2.0
_SHORTEST_PATIENCE = timedelta(seconds=5)
_LONGEST_PATIENCE = timedelta(minutes=2)

Severity = Literal["warning", "critical"]


class IncidentPoll(msgspec.Struct, frozen=True):
    """What one poll found: how many are blocked, the class of the root with the widest reach, the longest wait."""

    at: datetime
    blocked: int
    leading: str | None = None
    oldest_wait: float = 0.0
    #: Seconds of waiting, of all blocked sessions together, since the poll before.
    blocked_seconds: float = 0.0
    request: WaitingRequest | None = None


class Incident(msgspec.Struct, frozen=True):
    """One incident, as far as it has come."""

    #: When it started, to the millisecond: the same for all who speak of it, and of no other on this server.
    id: str
    started: datetime
    #: The classes that have led it, each once, in the order of their coming.
    classes: tuple[str, ...]
    peak_blocked: int
    #: In seconds.
    longest_wait: float = 0.0
    quiet_looks: int = 0
    #: The first of the latest polls that found no blocked session.
    quiet_since: datetime | None = None
    #: Seconds of waiting, of all blocked sessions together.
    blocked_seconds: float = 0.0
    #: How often it came, as far as that was seen, and the request behind it; None: there was none.
    attempts: int = 1
    request: WaitingRequest | None = None
    #: How long it may be quiet before it is over.
    patience: timedelta = timedelta()

    @property
    def severity(self) -> Severity:
        """How bad it has been so far: it does not get better before it ends."""
        is_critical = self.peak_blocked >= CRITICAL_SESSIONS or self.longest_wait >= CRITICAL_SECONDS
        return "critical" if is_critical else "warning"

    def seconds_until(self, moment: datetime) -> float:
        """How long it had lasted at a moment; never below zero, though a server's clock may be set back."""
        return max((moment - self.started) / timedelta(seconds=1), 0.0)


class IncidentEvent(msgspec.Struct, frozen=True):
    """What has happened to an incident. It ends at the first poll that found no blocked session."""

    #: class_changed: another class leads it, for the first time. worsened: it has become critical, after its start.
    #: continued: a new agent has found it still there. recurred: it has come back, for the first time.
    kind: Literal["started", "continued", "recurred", "class_changed", "worsened", "ended"]
    incident: Incident
    at: datetime


def advance_incident(
    incident: Incident | None, poll: IncidentPoll
) -> tuple[Incident | None, tuple[IncidentEvent, ...]]:
    """The incident after one more poll, None where there is none; and what has happened."""
    if poll.blocked:
        return _advance_blocked(incident, poll)
    if incident is None:
        return None, ()
    quiet_since = incident.quiet_since or poll.at
    incident = replace(incident, quiet_looks=incident.quiet_looks + 1, quiet_since=quiet_since)
    if incident.quiet_looks < _QUIET_LOOKS or poll.at - quiet_since < incident.patience:
        return incident, ()
    return None, (IncidentEvent("ended", incident, quiet_since),)


def continue_incident(incident: Incident, poll: IncidentPoll) -> tuple[Incident, tuple[IncidentEvent, ...]]:
    """An incident of an earlier agent, after the first poll of this one that finds it still there."""
    incident, events = _advance_blocked(incident, poll)
    return incident, (IncidentEvent("continued", incident, poll.at), *events)


def recur_incident(
    ended: Incident, quiet_since: datetime, poll: IncidentPoll
) -> tuple[Incident, tuple[IncidentEvent, ...]]:
    """An incident that has ended, after the poll that finds it again."""
    quiet = replace(ended, quiet_looks=_QUIET_LOOKS, quiet_since=quiet_since)
    request = poll.request
    leading = request.classification if request is not None and request.classification else poll.leading
    incident, events = _advance_blocked(quiet, replace(poll, leading=leading))
    return incident, (IncidentEvent("recurred", incident, poll.at), *events)


def _advance_blocked(incident: Incident | None, poll: IncidentPoll) -> tuple[Incident, tuple[IncidentEvent, ...]]:
    leading = poll.leading or "unknown"
    if incident is None:
        name = f"{poll.at:%Y%m%dT%H%M%S}{poll.at.microsecond // 1000:03}"
        incident = Incident(
            name,
            poll.at,
            (leading,),
            poll.blocked,
            poll.oldest_wait,
            blocked_seconds=poll.blocked_seconds,
            request=poll.request,
        )
        return incident, (IncidentEvent("started", incident, poll.at),)
    if incident.quiet_looks >= _QUIET_LOOKS and incident.quiet_since is not None:
        incident = _try_again(incident, poll.at - incident.quiet_since)
    is_new, before = leading not in incident.classes, incident.severity
    incident = replace(
        incident,
        classes=(*incident.classes, leading) if is_new else incident.classes,
        peak_blocked=max(incident.peak_blocked, poll.blocked),
        longest_wait=max(incident.longest_wait, poll.oldest_wait),
        quiet_looks=0,
        quiet_since=None,
        blocked_seconds=incident.blocked_seconds + poll.blocked_seconds,
        request=_join_requests(incident.request, poll.request),
    )
    if is_new:
        return incident, (IncidentEvent("class_changed", incident, poll.at),)
    return incident, () if incident.severity == before else (IncidentEvent("worsened", incident, poll.at),)


def _try_again(incident: Incident, pause: timedelta) -> Incident:
    patience = min(max(_PAUSES * pause, _SHORTEST_PATIENCE), _LONGEST_PATIENCE)
    return replace(incident, attempts=incident.attempts + 1, patience=max(incident.patience, patience))


def _join_requests(before: WaitingRequest | None, now: WaitingRequest | None) -> WaitingRequest | None:
    """The request of the latest attempt, with the longest wait of all that were the same."""
    if before is None or now is None or not before.is_same(now):
        return now or before
    return replace(
        now, waited=max(before.waited, now.waited), classification=now.classification or before.classification
    )
