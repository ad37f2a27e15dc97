"""One session: may it be signalled, and what would that do? Every guard's word, with what it looked at."""

from collections.abc import Sequence

import msgspec
from tabulate import tabulate

from pgdoctor.diagnosis.cuts import Cut
from pgdoctor.formatting import format_count
from pgdoctor.mitigation.decision import Decision
from pgdoctor.render.plain import format_one_line
from pgdoctor.render.plan import DecisionFacts, decision_facts
from pgdoctor.render.tree import format_freed

_WIDTH = 60
_MOST_TEXT = 500


class SessionFacts(msgspec.Struct, frozen=True):
    """The object of `mitigate --pid PID --format json`."""

    schema_version: int
    pid: int
    #: Why there is nothing to decide; None where there is a decision.
    said: str | None
    decision: DecisionFacts | None
    #: What pgdoctor makes of cutting it, where it would recommend to.
    cut: Cut | None


def session_facts(pid: int, said: str | None, decision: Decision | None, cuts: Sequence[Cut]) -> SessionFacts:
    """The facts to report about one session."""
    cut = next((each for each in cuts if each.pid == pid), None)
    return SessionFacts(1, pid, said, decision_facts(decision) if decision else None, cut)


def session_text(facts: SessionFacts) -> str:
    """The answer for people."""
    decision = facts.decision
    if decision is None:
        return f"{facts.pid}: {facts.said}.\n"
    parts = [_write_headline(decision), "\n".join(describe_effect(facts, decision))]
    if decision.rule is not None:
        parts.append(_format_guards(decision))
    return "\n\n".join(parts) + "\n"


def _write_headline(decision: DecisionFacts) -> str:
    where = f" on {decision.relation}" if decision.relation else ""
    what = f"{decision.pid} is {decision.classification}{where}"
    if decision.rule is None:
        return format_one_line(f"{what}; no rule allows a signal.", _MOST_TEXT)
    said = f"{what}. Rule {decision.rule} would {decision.action} it"
    objections = [verdict.guard for verdict in decision.verdicts if verdict.objection is not None]
    if not objections:
        but = f"; but it is {', '.join(decision.notes)}" if decision.notes else "; no guard objects"
        return format_one_line(f"{said}{but}.", _MOST_TEXT)
    if decision.state == "pending_approval":
        return format_one_line(f"{said}; it waits for approval: pgdoctor mitigate approve {decision.id}", _MOST_TEXT)
    return format_one_line(f"{said}; objections: {', '.join(objections)}.", _MOST_TEXT)


def describe_effect(facts: SessionFacts, decision: DecisionFacts) -> list[str]:
    """Whom it would free, how sure that is, and what is lost."""
    cut = facts.cut
    if cut is None:
        freed = (
            f"It would free {format_count(decision.frees, 'session')}."
            if decision.rule
            else "A signal to it is not recommended."
        )
        return [freed, *(format_one_line(each, _MOST_TEXT) for each in decision.evidence)]
    if cut.release_uncertain is not None:
        sure = f"uncertain: {cut.release_uncertain}"
    elif cut.exact:
        sure = "exact, because these are table locks"
    else:
        sure = "a forecast: no other holder of the row is visible"
    follow = cut.frees_in_turn - cut.frees_at_once
    then = f", {follow:,} more in turn" if follow else ""
    whom = f" ({format_freed(cut)})" if cut.released else ""
    return [
        f"A {cut.action} frees {cut.frees_at_once:,} at once{whom}{then}; {sure}.",
        format_one_line(f"It costs {cut.loses} ({cut.reason}).", _MOST_TEXT),
        *(format_one_line(each, _MOST_TEXT) for each in decision.evidence),
    ]


def _format_guards(decision: DecisionFacts) -> str:
    rows = [
        (
            verdict.guard,
            "no" if verdict.objection else "yes",
            format_one_line(verdict.objection or verdict.value, _MOST_TEXT),
        )
        for verdict in decision.verdicts
    ]
    return tabulate(rows, ("guard", "agrees", "because"), tablefmt="simple", maxcolwidths=[None, None, _WIDTH])
