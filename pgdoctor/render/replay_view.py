"""A kept snapshot judged again: where today's verdict differs from that of then, and what rules would do about it."""

from collections.abc import Iterator, Sequence
from datetime import datetime

import msgspec

from pgdoctor.formatting import format_count
from pgdoctor.incidents.snapshot_archive import StoredVerdict
from pgdoctor.model.diagnosis import Diagnosis
from pgdoctor.render.incident_view import format_moment
from pgdoctor.render.plain import format_one_line
from pgdoctor.render.plan import DecisionFacts, PlanFacts, plan_text

_MOST_TEXT = 2_000


class VerdictChange(msgspec.Struct, frozen=True):
    """What is said of a blocker now, and was said then; None: it was, or is, no blocker."""

    pid: int
    then: str | None
    now: str | None


class ReplayedSnapshot(msgspec.Struct, frozen=True):
    """One snapshot, judged again. `plan` is there where there are rules."""

    incident: str
    at: datetime
    blocked: int
    verdicts: tuple[StoredVerdict, ...]
    changes: tuple[VerdictChange, ...]
    plan: PlanFacts | None = None


def compare_replay(
    incident: str, at: datetime, blocked: int, then: Sequence[StoredVerdict], now: Diagnosis
) -> ReplayedSnapshot:
    """The verdicts of today beside those of then. Blockers beyond those whose verdict was kept are not compared."""
    verdicts = tuple(map(StoredVerdict.of, now.blockers[: len(then)]))
    before, after = (
        {each.node: _describe_verdict(each) for each in then},
        {each.node: _describe_verdict(each) for each in verdicts},
    )
    changes = (VerdictChange(node, before.get(node), after.get(node)) for node in before | after)
    return ReplayedSnapshot(incident, at, blocked, verdicts, tuple(each for each in changes if each.then != each.now))


def replay_text(found: ReplayedSnapshot) -> str:
    """It for a terminal."""
    return "\n".join(format_one_line(line, _MOST_TEXT) for line in _format_replay(found)) + "\n"


def _format_replay(found: ReplayedSnapshot) -> Iterator[str]:
    yield f"{found.incident}  {format_moment(found.at)} UTC, {format_count(found.blocked, 'session')} blocked"
    for each in found.verdicts:
        if each.root:
            yield f"  {each.node} {_describe_verdict(each)}, blocks {format_count(each.blocked_sessions, 'session')}"
    for change in found.changes:
        yield f"  ! {change.pid}: then {change.then or 'no blocker'}; now {change.now or 'no blocker'}"
    if not found.changes:
        yield "  the verdicts have not changed"
    if found.plan is not None:
        yield ""
        yield from (f"  {line}" for line in plan_text(found.plan).splitlines())
        for decision in found.plan.decisions:
            yield from _list_guards(decision)


def _list_guards(decision: DecisionFacts) -> Iterator[str]:
    """What every guard said of a blocker that a rule speaks of."""
    if decision.rule is None:
        return
    who = decision.pid if decision.pid is not None else decision.prepared_gid
    yield ""
    yield f"  {decision.action} {who} by rule {decision.rule}: {'yes' if decision.approved else 'no'}"
    for verdict in decision.verdicts:
        said = f"NO: {verdict.objection}" if verdict.objection else "ok"
        value = f" ({verdict.value})" if verdict.value else ""
        yield f"    {verdict.guard}{value}: {said}"


def _describe_verdict(each: StoredVerdict) -> str:
    also = f" (also {', '.join(each.also)})" if each.also else ""
    where = f" on {each.relation}" if each.relation else ""
    root = "" if each.root else ", waits itself"
    return f"{each.classification}{also}{where}{root}, {each.action}"
