"""A mitigation plan for people and for programs: what may be done about each blocker, and why not."""

from collections.abc import Sequence
from datetime import datetime

import msgspec
from tabulate import tabulate

from pgdoctor.diagnosis.cuts import Cut
from pgdoctor.formatting import format_count
from pgdoctor.mitigation.decision import Decision
from pgdoctor.mitigation.guard import GuardVerdict
from pgdoctor.mitigation.history import Action
from pgdoctor.mitigation.plan import Plan
from pgdoctor.model.diagnosis import Finding
from pgdoctor.model.identity import Identity
from pgdoctor.render.plain import format_one_line
from pgdoctor.render.tree import format_released

#: Characters of a line in the column of reasons.
_WIDTH = 60

#: Characters of a verdict.
_MOST_TEXT = 2_000


class DecisionFacts(msgspec.Struct, frozen=True, rename={"classification": "class"}):
    """One decision, in a report."""

    pid: int | None
    prepared_gid: str | None
    classification: str
    relation: str | None
    root: bool
    user: str | None
    database: str | None
    application: str | None
    rule: str | None
    action: str | None
    frees: int
    frees_at_once: int
    approved: bool
    identity: Identity | None
    evidence: tuple[str, ...]
    verdicts: tuple[GuardVerdict, ...]
    notes: tuple[str, ...]
    #: What a person agrees to.
    id: str | None
    #: Where it stands: observed, suppressed, candidate, pending_approval, eligible.
    state: str
    fingerprint: str
    #: The users whose waits decide.
    waiting_users: tuple[str, ...] = ()


class ActionFacts(msgspec.Struct, frozen=True, rename={"classification": "class"}):
    """One action that was carried out, in a report."""

    pid: int
    classification: str
    relation: str | None
    rule: str
    action: str
    outcome: str | None
    frees_at_once: int
    signalled_at: datetime
    seconds: float | None
    sqlstate: str | None
    server_said: str | None


class PlanFacts(msgspec.Struct, frozen=True):
    """The object of `mitigate --format json`."""

    schema_version: int
    mode: str
    decisions: tuple[DecisionFacts, ...]
    actions: tuple[ActionFacts, ...]
    cuts: tuple[Cut, ...]
    #: Why the breaker is open; None: it is closed.
    breaker: str | None
    #: What is wrong at the server that mitigation depends on.
    findings: tuple[Finding, ...] = ()
    #: Why no session is signalled, whichever it is: disarmed, maintenance, a record that cannot be read.
    stops: tuple[str, ...] = ()


def plan_facts(
    plan: Plan, mode: str, actions: Sequence[Action], cuts: Sequence[Cut], findings: Sequence[Finding] = ()
) -> PlanFacts:
    """A plan, what was carried out before it was made, the cuts that pgdoctor recommends, and what is wrong."""
    opening = plan.opening.reason if plan.opening else None
    return PlanFacts(
        1,
        mode,
        tuple(map(decision_facts, plan.decisions)),
        tuple(map(_action_facts, actions)),
        tuple(cuts),
        opening,
        tuple(findings),
    )


def plan_text(facts: PlanFacts) -> str:
    """The plan as tables."""
    parts = [format_one_line(f"{each.severity}: {each.summary}; {each.advice}", _MOST_TEXT) for each in facts.findings]
    parts.append(_format_table(facts) if facts.decisions else "No session is blocked.")
    if facts.cuts and not any(decision.rule for decision in facts.decisions):
        parts.append("\n".join(map(_describe_cut, facts.cuts[:3])))
    parts += [format_one_line(f"No session is signalled: {each}.", _MOST_TEXT) for each in facts.stops]
    return "\n\n".join(parts) + "\n"


def action_text(action: Action) -> str:
    """What one action did, in one line."""
    what = f"{action.signal} {action.victim.pid} ({action.classification}, rule {action.rule})"
    said = f": {format_one_line(action.message, _MOST_TEXT)}" if action.message else ""
    if action.outcome == "released":
        return f"{what}: released {format_count(len(action.waiters), 'session')} in {action.seconds:.1f} s"
    return f"{what}: {_OUTCOMES[action.outcome or 'error']}{said}"


_OUTCOMES = {
    "ineffective": "sent, but the waiting sessions still wait",
    "stuck": "sent, but the session has not ended: check it on the server, and never use SIGKILL",
    "gone": "not sent: the session had changed since it was judged",
    "not_permitted": "the server does not permit it",
    "error": "the server answered with an error, or not at all",
    "unverified": "sent; its effect was not observed",
    "would_act": "would be sent outside of a dry run",
    "withheld": "not sent: mitigation was stopped in the meantime",
}


def _format_table(facts: PlanFacts) -> str:
    shown = [decision for decision in facts.decisions if decision.rule or decision.root]
    rows = [
        (
            decision.pid if decision.pid is not None else _shorten_name(decision.prepared_gid),
            decision.classification,
            _shorten_name(decision.relation),
            decision.rule,
            decision.action,
            decision.frees if decision.rule else None,
            _format_verdict(decision),
        )
        for decision in shown
    ]
    headers = ("pid", "class", "relation", "rule", "action", "frees", "verdict")
    table = tabulate(rows, headers, tablefmt="simple", maxcolwidths=[None] * 6 + [_WIDTH])
    rest = len(facts.decisions) - len(shown)
    return (
        f"{table}\n\n{format_count(rest, 'more blocker')} that wait themselves, and match no rule." if rest else table
    )


def _format_verdict(decision: DecisionFacts) -> str:
    said = [f"{verdict.guard}: {verdict.objection}" for verdict in decision.verdicts if verdict.objection]
    text = f"no: {'; '.join(said)}" if said else "; ".join(("yes", *decision.notes))
    return format_one_line(text, _MOST_TEXT)


def _shorten_name(text: str | None) -> str | None:
    return None if text is None else format_one_line(text, _WIDTH)


def _describe_cut(cut: Cut) -> str:
    refused = f" But {cut.not_permitted}" if cut.not_permitted else ""
    said = (
        f"By hand: {cut.action} {cut.pid} frees {format_released(cut)}; it costs {cut.loses} ({cut.reason}).{refused}"
    )
    return format_one_line(said, _MOST_TEXT)


def decision_facts(decision: Decision) -> DecisionFacts:
    """One decision, for a report."""
    return DecisionFacts(
        pid=decision.pid,
        prepared_gid=decision.prepared_gid,
        classification=decision.classification,
        relation=decision.relation,
        root=decision.root,
        user=decision.usename,
        database=decision.datname,
        application=decision.application_name,
        rule=decision.rule.name if decision.rule else None,
        action=decision.signal,
        frees=decision.frees,
        frees_at_once=len(decision.waiters),
        approved=decision.approved,
        identity=decision.victim,
        evidence=decision.evidence,
        verdicts=decision.verdicts,
        notes=decision.notes,
        id=decision.id,
        state=decision.state,
        fingerprint=decision.fingerprint,
        waiting_users=decision.waiting_users,
    )


def _action_facts(action: Action) -> ActionFacts:
    return ActionFacts(
        pid=action.victim.pid,
        classification=action.classification,
        relation=action.relation,
        rule=action.rule,
        action=action.signal,
        outcome=action.outcome,
        frees_at_once=len(action.waiters),
        signalled_at=action.at,
        seconds=action.seconds,
        sqlstate=action.sqlstate,
        server_said=action.message,
    )
