"""A blocker that the evidence does not explain.

Recognised by: no other class fits. Its columns are hidden from the agent's role, its statement cannot be read, or it
waits itself and only stands in the queue.
Do: if it waits, look at the session that it waits for. If that one must not be ended, a cancel of the waiting session
frees those behind it. If it is hidden, grant `pg_monitor` (`pgdoctor setup`).
Do not: let a rule act on it. Without a known cause pgdoctor sends no signal.
Source: PostgreSQL documentation, "Predefined Roles".
"""

from collections.abc import Iterator

from pgdoctor.diagnosis import holding, underway
from pgdoctor.diagnosis.cause import Cause, Remedy, Verdict
from pgdoctor.diagnosis.suspect import Suspect
from pgdoctor.diagnosis.words import duration


class Unknown(Cause):
    name = "unknown"
    precedence = 900
    why_untouchable = "doubt means no action"
    tells_more = False

    def judge(self, suspect: Suspect) -> Verdict | None:
        if suspect.is_waiting:
            return Verdict(tuple(_in_line(suspect)), Remedy("none", "it only waits: look at what it waits for"))
        evidence = (_why(suspect), *holding.evidence(suspect))
        return Verdict(evidence, Remedy("none", "not enough is known about it to act"))


def _in_line(suspect: Suspect) -> Iterator[str]:
    line = "in a circle" if suspect.node in suspect.graph.in_cycle else "in line itself: not the cause"
    yield f"waits {line}"
    yield from underway.waiting(suspect)


def _why(suspect: Suspect) -> str:
    if suspect.session is None or not suspect.session.is_visible:
        return "its columns are hidden from our role (pg_monitor shows them), or it has just ended"
    return f"has been {suspect.session.state or 'in an unknown state'} for {duration(suspect.state_seconds)}"
