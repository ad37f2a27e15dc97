"""What every pgdoctor at a server has to know before it signals, as one line of text: brakes, and what was done. Pure.

It is read and written as a whole. Nothing grows without end: of each brake only what holds is kept, of the actions
those of the last day, and the latest alone where they are many. An unreadable record is an error, never "nothing".
"""

import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Self

import msgspec
from msgspec.structs import replace

from pgdoctor.errors import PgdoctorError
from pgdoctor.mitigation import audit_records
from pgdoctor.mitigation.audit_records import UNKNOWN, Arm, Brakes, Disarm, MaintenanceWindow
from pgdoctor.mitigation.history import KEPT, Action, History, Opening, Outcome, Reset, Signal, decision_id
from pgdoctor.model.identity import Identity

#: The beginning of every record; a text that begins otherwise is not pgdoctor's.
MARK = "pgdoctor:1 "

#: Actions, and characters, that are kept at most; characters of a reason.
MOST_ACTIONS = 200
MOST_CHARACTERS = 65_536
_MOST_REASON = 500

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

SharedEvent = Disarm | Arm | MaintenanceWindow | Opening | Reset


class UnreadableRecord(PgdoctorError):
    """The record is not one that this pgdoctor understands; the text says why, in one line."""


class SharedAction(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """An action as it is recorded, without names that a short text has no room for. Times in Unix microseconds."""

    at: int
    signal: Signal
    #: None: what came of it is not known, or not yet.
    outcome: Outcome | None
    rule: str
    classification: str
    fingerprint: str
    usename: str | None
    pid: int
    backend_start: int
    xact_start: int | None
    query_start: int | None
    state: str
    state_change: int
    patience: float

    @classmethod
    def of(cls, action: Action) -> Self:
        """The same action."""
        victim = action.victim
        return cls(
            at=_encode_moment(action.at),
            signal=action.signal,
            outcome=action.outcome,
            rule=action.rule,
            classification=action.classification,
            fingerprint=action.fingerprint,
            usename=action.usename,
            pid=victim.pid,
            backend_start=_encode_moment(victim.backend_start),
            xact_start=None if victim.xact_start is None else _encode_moment(victim.xact_start),
            query_start=None if victim.query_start is None else _encode_moment(victim.query_start),
            state=victim.state,
            state_change=_encode_moment(victim.state_change),
            patience=action.patience,
        )

    @property
    def action(self) -> Action:
        """The same action; one without an outcome is spent, and may have been sent. Raises OverflowError."""
        victim = Identity(
            pid=self.pid,
            backend_start=_decode_moment(self.backend_start),
            xact_start=None if self.xact_start is None else _decode_moment(self.xact_start),
            query_start=None if self.query_start is None else _decode_moment(self.query_start),
            state=self.state,
            state_change=_decode_moment(self.state_change),
        )
        return Action(
            victim=victim,
            signal=self.signal,
            rule=self.rule,
            classification=self.classification,
            relation=None,
            waiters=(),
            at=_decode_moment(self.at),
            patience=self.patience,
            outcome=self.outcome or "error",
            message=None if self.outcome else UNKNOWN,
            usename=self.usename,
            fingerprint=self.fingerprint,
        )


class SharedRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is shared, in the order in which it was written."""

    events: tuple[SharedEvent, ...] = ()
    actions: tuple[SharedAction, ...] = ()
    #: An agent that may act has used it.
    is_used: bool = False

    @property
    def brakes(self) -> Brakes:
        """The brakes that hold."""
        return audit_records.replay_brakes(self.events)

    @property
    def history(self) -> History:
        """What was done, and whether the breaker is open."""
        return replace(audit_records.replay_history(self.events), actions=tuple(each.action for each in self.actions))


_decode = msgspec.json.Decoder(SharedRecord).decode


def decode_record(text: str | None) -> SharedRecord:
    """What a record says; nothing where there is none. Raises UnreadableRecord."""
    if text is None:
        return SharedRecord()
    if not text.startswith(MARK):
        raise UnreadableRecord("it is not a record of pgdoctor, or of another version")
    if len(text) > MOST_CHARACTERS:
        raise UnreadableRecord(f"it has more than {MOST_CHARACTERS} characters")
    try:
        shared = _decode(text.removeprefix(MARK).encode())
        # Every time has to be one.
        _ = shared.history, shared.brakes
    except (msgspec.MsgspecError, UnicodeError, OverflowError, TypeError, RecursionError) as error:
        said = " ".join(str(error).split())[:200]
        raise UnreadableRecord(f"it is damaged: {said}") from None
    return shared


def encode_record(shared: SharedRecord) -> str:
    """The text of a record: printable ASCII on one line, for older servers replace everything else by `?`."""
    while True:
        body = json.dumps(msgspec.to_builtins(shared), ensure_ascii=True, separators=(",", ":"))
        text = MARK + body.replace("\x7f", "\\u007f")
        if len(text) <= MOST_CHARACTERS or not shared.actions:
            return text
        shared = replace(shared, actions=shared.actions[len(shared.actions) // 10 + 1 :])


def with_shared_event(shared: SharedRecord, event: SharedEvent) -> SharedRecord:
    """The record after one more event, without what it makes needless."""
    event = replace(event, reason=event.reason[:_MOST_REASON])
    if not isinstance(event, Opening):
        event = replace(event, by=event.by[:_MOST_REASON])
    kept: Iterable[SharedEvent] = shared.events
    fingerprint = getattr(event, "fingerprint", "")
    match event:
        case Disarm() | Arm():
            kept = (each for each in kept if not isinstance(each, Disarm | Arm))
        case MaintenanceWindow():
            until = shared.brakes.maintenance_until
            if until is not None and event.until > event.at:
                event = replace(event, until=max(until, event.until))
            kept = (each for each in kept if not isinstance(each, MaintenanceWindow))
        case Opening():
            kept = (each for each in kept if not (isinstance(each, Opening) and each.fingerprint == fingerprint))
        case Reset():
            kept = (each for each in kept if not isinstance(each, Opening | Reset))
    return replace(shared, events=(*kept, event))


def with_shared_action(shared: SharedRecord, action: Action, now: datetime) -> SharedRecord:
    """The record with an action as it is now, in place of the same one; without it where nothing was sent after all."""
    kept = [
        each
        for each in shared.actions
        if _action_name(each.action) != _action_name(action) and now - each.action.at < KEPT
    ]
    actions = (*kept, SharedAction.of(action)) if action.counts else tuple(kept)
    return replace(shared, actions=actions[-MOST_ACTIONS:])


def missing_brakes(shared: SharedRecord, known: Brakes, at: datetime) -> list[SharedEvent]:
    """The brakes that hold here by what was said before, by the journal, and that the record does not have."""
    joined, there = joined_brakes(shared, known), shared.brakes
    found: list[SharedEvent] = []
    if there.kill_switch is None and joined.kill_switch is not None and isinstance(joined.said, Disarm):
        found.append(replace(joined.said, at=at))
    until = joined.maintenance_until
    if joined.marked is not None and until is not None and until > max(at, there.maintenance_until or at):
        found.append(replace(joined.marked, at=at, until=until))
    return found


def lifted_brakes(shared: SharedRecord, known: Brakes) -> list[Arm | MaintenanceWindow]:
    """What has to be written in our journal, for what was lifted by the record to be lifted there too."""
    joined, there = joined_brakes(shared, known), shared.brakes
    by = "another pgdoctor"
    found: list[Arm | MaintenanceWindow] = []
    if known.kill_switch is not None and joined.kill_switch is None and there.said is not None:
        found.append(Arm(there.said.at, "read from the shared record", by))
    if known.maintenance_until is not None and joined.maintenance_until is None and there.marked is not None:
        found.append(MaintenanceWindow(there.marked.at, there.marked.at, "read from the shared record", by))
    return found


def joined_history(shared: SharedRecord, known: History) -> History:
    """What is known here, and what others have shared."""
    there = shared.history
    certain = {_action_name(each) for each in known.actions if _is_certain(each)}
    others = [each for each in there.actions if _action_name(each) not in certain]
    better = {_action_name(each) for each in others}
    own = [each for each in known.actions if not (each.message == UNKNOWN and _action_name(each) in better)]
    stops = {(each.fingerprint, each.rehearsed): each for each in known.stops}
    for each in there.stops:
        if (mine := stops.get((each.fingerprint, False))) is None or mine.at < each.at:
            stops[each.fingerprint, False] = each
    return replace(
        known,
        actions=tuple(sorted((*own, *others), key=lambda each: each.at)) if others else known.actions,
        opening=max(filter(None, (known.opening, there.opening)), key=lambda each: each.at, default=None),
        reset=max(filter(None, (known.reset, there.reset)), key=lambda each: each.at, default=None),
        stops=tuple(stops.values()),
    )


def joined_brakes(shared: SharedRecord, known: Brakes, *, is_untold: bool = False) -> Brakes:
    """The brakes that hold here or by the record. One of here is lifted by the record where it was lifted later there.

    `is_untold`: a local brake is not in the record yet, so nothing in it can mean that.
    """
    there = shared.brakes
    is_armed = not is_untold and _is_later(there.said, known.said)
    is_over = not is_untold and there.maintenance_until is None and _is_later(there.marked, known.marked)
    untils = (there.maintenance_until, None if is_over else known.maintenance_until)
    return Brakes(
        kill_switch=there.kill_switch or (None if is_armed else known.kill_switch),
        maintenance_until=max(filter(None, untils), default=None),
        said=there.said if there.kill_switch or is_armed else known.said or there.said,
        marked=there.marked if is_over else known.marked or there.marked,
    )


def explain_unreadable(role: str, error: UnreadableRecord) -> str:
    """Why the record cannot be used, and how an operator starts a new one."""
    return (
        f"the shared record, the setting application_name of {role}, cannot be read: {error}; "
        "check it, run ALTER ROLE … RESET application_name, and disarm again if needed"
    )


def _action_name(action: Action) -> str:
    return decision_id(action.victim, action.signal)


def _is_certain(action: Action) -> bool:
    """Whether it was sent, and what is known of it here is more than that it may have been."""
    return action.counts and action.outcome != "would_act" and action.message != UNKNOWN


def _is_later(there: SharedEvent | None, here: SharedEvent | None) -> bool:
    return there is not None and here is not None and there.at > here.at


def _encode_moment(moment: datetime) -> int:
    return (moment - _EPOCH) // _MICROSECOND


def _decode_moment(microseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=microseconds)
