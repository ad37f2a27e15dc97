"""What mitigation has recorded: one object a record for programs, one line an event for people."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from tabulate import tabulate

from pgdoctor.escape import encode_json
from pgdoctor.formatting import format_count
from pgdoctor.mitigation.audit_records import Event, Intent, PersonIntent, PersonOutcome, Settled
from pgdoctor.mitigation.proposals import Proposal, ProposalClosed, ProposalRefused
from pgdoctor.render.plain import format_one_line
from pgdoctor.render.tree import format_session_client

_WIDTH = 60
_MOST_TEXT = 500

#: What an outcome repeats of its intent, so that one line of it can be read alone.
_REPEATED = ("signal", "rule", "class", "relation", "identity", "mode")


class AuditEntry(msgspec.Struct, frozen=True):
    """A record, with whose it is."""

    id: int
    server: str
    at: datetime
    kind: str
    event: Event


def entries_json(entries: Iterable[AuditEntry]) -> Iterator[bytes]:
    """One JSON object a record, in the order of writing."""
    intents: dict[tuple[str, str], Mapping[str, Any]] = {}
    for entry in entries:
        facts: dict[str, Any] = {"id": entry.id, "server": entry.server, "at": entry.at, "kind": entry.kind}
        match entry.event:
            case Intent():
                said = _intent_facts(entry.event)
                intents[entry.server, entry.event.decision] = said
            case Settled(decision=decision):
                before = intents.get((entry.server, decision), {})
                said = {**msgspec.to_builtins(entry.event), **{key: before.get(key) for key in _REPEATED}}
            case PersonIntent():
                said = msgspec.to_builtins(entry.event) | {"decision": entry.event.decision}
            case _:
                said = msgspec.to_builtins(entry.event)
        yield encode_json(facts | {key: value for key, value in said.items() if key not in facts})


def entries_table(entries: Sequence[AuditEntry]) -> str:
    """One line an event."""
    if not entries:
        return "No records in this period.\n"
    several = len({entry.server for entry in entries}) > 1
    intents: dict[tuple[str, str], Intent] = {}
    rows = []
    for entry in entries:
        match entry.event:
            case Intent():
                intents[entry.server, entry.event.decision] = entry.event
            case _:
                pass
        decision = getattr(entry.event, "decision", "")
        said = format_one_line(_describe_event(entry.event, intents.get((entry.server, decision))), _MOST_TEXT)
        rows.append((entry.at.astimezone(UTC).isoformat(" ", "seconds"), entry.kind, said, *[entry.server] * several))
    headers = ("at", "kind", "what", *["server"] * several)
    return tabulate(rows, headers, tablefmt="simple", maxcolwidths=[None, None, _WIDTH, *[None] * several]) + "\n"


def _intent_facts(event: Intent) -> dict[str, Any]:
    """What was about to be done, under the names that log lines have for it."""
    action = event.action
    facts = msgspec.to_builtins(event)
    del facts["action"]
    return {
        "decision": event.decision,
        "signal": action.signal,
        "rule": action.rule,
        "class": action.classification,
        "relation": action.relation,
        "usename": action.usename,
        "fingerprint": action.fingerprint,
        "identity": msgspec.to_builtins(action.victim),
        "waiters": msgspec.to_builtins(action.waiters),
        **facts,
    }


def _describe_event(event: Event, intent: Intent | None) -> str:
    match event:
        case Intent():
            users = f" for {', '.join(event.waiting_users)}" if event.waiting_users else ""
            what = f"{_describe_action(event)} of {_describe_target(event)}"
            return f"{what}, to free {event.frees}{users} ({event.mode}; {event.decision})"
        case Settled():
            what = _describe_action(intent) if intent else event.decision
            after = f" after {event.seconds:.1f} s" if event.seconds is not None else ""
            more = ", ".join(each for each in (event.sqlstate, event.message) if each)
            return f"{what}: {event.outcome.replace('_', ' ')}{after}{f' ({more})' if more else ''}"
        case PersonIntent():
            return _of_person(event)
        case PersonOutcome():
            return _came_of_person(event)
        case Proposal() | ProposalClosed() | ProposalRefused():
            return _describe_proposal(event)
    facts = msgspec.to_builtins(event)
    return ", ".join(f"{key} {value}" for key, value in facts.items() if key not in ("kind", "at"))


def _of_person(event: PersonIntent) -> str:
    where = f" on {event.relation}" if event.relation else ""
    about = f" ({event.classification}{where})" if event.classification else ""
    despite = f", despite: {'; '.join(event.despite)}" if event.despite else ""
    whose = format_session_client(event.usename, event.datname, event.application_name)
    return f"{event.signal} {event.victim.pid}{about} of {whose}, to free {event.frees_at_once}, by {event.by}{despite}"


def _came_of_person(event: PersonOutcome) -> str:
    after = f" after {event.seconds:.1f} s" if event.seconds is not None else ""
    more = ", ".join(each for each in (event.sqlstate, event.message) if each)
    freed = f", {format_count(event.released, 'session')}" if event.released else ""
    return f"{event.decision}: {event.outcome.replace('_', ' ')}{freed}{after}{f' ({more})' if more else ''}"


def _describe_proposal(event: Proposal | ProposalClosed | ProposalRefused) -> str:
    match event:
        case Proposal():
            whose = format_session_client(event.usename, event.datname, event.application_name)
            return f"{event.id}: {event.signal} {event.victim.pid} of {whose}, proposed by {event.by}: {event.reason}"
        case ProposalClosed():
            why = f": {event.reason}" if event.reason else ""
            return f"{event.decision}: {event.answer} by {event.by}{why}"
        case ProposalRefused():
            return f"{event.decision}: not sent for {event.by}: {'; '.join(event.objections)}"


def _describe_target(intent: Intent) -> str:
    return format_session_client(intent.action.usename, intent.datname, intent.application_name)


def _describe_action(intent: Intent) -> str:
    action = intent.action
    where = f" on {action.relation}" if action.relation else ""
    return f"{action.signal} {action.victim.pid} ({action.classification}{where}, rule {action.rule})"
