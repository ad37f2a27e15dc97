"""A mitigation plan in brief: what rules and guards say of each blocker."""

import msgspec

from pgdoctor.render.brief.diagnosis import BriefCut, make_brief_cut
from pgdoctor.render.brief.text import NOTICE, ClientText, client_text, keep_first
from pgdoctor.render.plan import DecisionFacts, PlanFacts

#: Signals by hand, and objections of one decision.
_MOST_CUTS = 3
_MOST_OBJECTIONS = 6


class BriefObjection(msgspec.Struct, frozen=True):
    """Why a guard objects; `pgdoctor explain GUARD` has its page."""

    guard: str
    client_text: ClientText


class BriefDecision(msgspec.Struct, frozen=True, omit_defaults=True, rename={"classification": "class"}):
    """What is decided about one blocker. `state`: observed, suppressed, candidate, pending_approval or eligible."""

    pid: int | None
    classification: str
    root: bool
    state: str
    #: The rule that speaks of it, and its signal; null: no rule does.
    rule: str | None
    action: str | None
    frees: int
    frees_at_once: int
    objections: tuple[BriefObjection, ...] = ()
    objections_left_out: int = 0
    client_text: ClientText = ClientText()


class BriefPlan(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer of the tool `plan`. The plan is never carried out."""

    notice: str
    #: Of the configuration: off, observe, dry_run or enforce.
    mode: str
    decisions: tuple[BriefDecision, ...]
    #: What a person may do by hand, the best first.
    cuts: tuple[BriefCut, ...]
    breaker_open: bool = False
    decisions_left_out: int = 0
    #: Why no session is signalled at all.
    client_text: ClientText = ClientText()


def make_brief_plan(facts: PlanFacts, most: int) -> BriefPlan:
    """The plan with at most so many decisions."""
    decisions, left = keep_first(facts.decisions, most)
    stops = [facts.breaker, *facts.stops, *(each.summary for each in facts.findings)]
    return BriefPlan(
        notice=NOTICE,
        mode=facts.mode,
        decisions=tuple(map(_make_decision, decisions)),
        cuts=tuple(map(make_brief_cut, facts.cuts[:_MOST_CUTS])),
        breaker_open=facts.breaker is not None,
        decisions_left_out=left,
        client_text=client_text(sentences=stops[:_MOST_OBJECTIONS]),
    )


def _make_decision(decision: DecisionFacts) -> BriefDecision:
    objections = [
        BriefObjection(each.guard, client_text(sentences=(each.objection,)))
        for each in decision.verdicts
        if each.objection is not None
    ]
    listed, left = keep_first(objections, _MOST_OBJECTIONS)
    return BriefDecision(
        pid=decision.pid,
        classification=decision.classification,
        root=decision.root,
        state=decision.state,
        rule=decision.rule,
        action=decision.action,
        frees=decision.frees,
        frees_at_once=decision.frees_at_once,
        objections=listed,
        objections_left_out=left,
        client_text=client_text(
            user=decision.user,
            database=decision.database,
            application=decision.application,
            relation=decision.relation,
            prepared_gid=decision.prepared_gid,
        ),
    )
