"""A blocker that the evidence does not explain.

Recognised by: no other class fits. Its columns are hidden from the agent's role, its statement cannot be read, or it
waits itself and is only queued.
Do: if it waits, look at the session that it waits for. If that one must not be ended, a cancel of the waiting session
frees those behind it. If it is hidden, grant `pg_monitor` (`pgdoctor setup`).
Do not: let a rule act on it. Without a known cause pgdoctor sends no signal.
Source: PostgreSQL documentation, "Predefined Roles".
"""

from collections.abc import Iterator

from pgdoctor.diagnosis.blocker import command_status, held_locks
from pgdoctor.diagnosis.blocker.blocker_facts import BlockerFacts
from pgdoctor.diagnosis.cause import Cause
from pgdoctor.formatting import format_duration
from pgdoctor.model.remedy import Classification, Remedy


class Unknown(Cause):
    name = "unknown"
    precedence = 900
    why_untouchable = "doubt means no action"
    tells_more = False

    def classify_blocker(self, facts: BlockerFacts) -> Classification | None:
        if facts.is_waiting:
            return Classification(
                tuple(_in_line(facts)), Remedy("none", "it only waits: diagnose the session that it waits for")
            )
        evidence = (_explain_session(facts), *held_locks.describe_contested_locks(facts))
        return Classification(evidence, Remedy("none", "not enough is known about it to act"))


def _in_line(facts: BlockerFacts) -> Iterator[str]:
    yield "waits in a circle" if facts.node in facts.graph.in_cycle else "is queued itself: not the cause"
    yield from command_status.describe_command_wait(facts)


def _explain_session(facts: BlockerFacts) -> str:
    if facts.session is None or not facts.session.is_visible:
        return "its columns are hidden from our role (pg_monitor shows them), or it has just ended"
    return f"has been {facts.session.state or 'in an unknown state'} for {format_duration(facts.state_seconds)}"
