"""The score of rehearsed actions: one row a rule and class for people, one JSON object for programs."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from statistics import median

import msgspec
from tabulate import tabulate

from pgdoctor.escape import encode_json
from pgdoctor.formatting import format_count, format_duration, format_verb
from pgdoctor.mitigation.rehearsal import NEEDLESS_SECONDS, RehearsalScore
from pgdoctor.render.incident_view import format_moment
from pgdoctor.render.live.cells import Span
from pgdoctor.render.paragraph import Paragraph, lay_out_paragraphs
from pgdoctor.render.plain import format_one_line

#: Rehearsed actions that are listed one by one, the latest last.
_MOST_LISTED = 20

_WIDTH = 40


class RuleScore(msgspec.Struct, frozen=True, rename={"classification": "class"}):
    """What one rule would have done to one class. Seconds are lower bounds and those of `helped` actions alone."""

    rule: str
    classification: str
    actions: int
    helped: int
    needless: int
    wrong_class: int
    refused: int
    unknown: int
    #: How much earlier waiters would have been released; null: no action helped.
    median_seconds: float | None
    longest_seconds: float | None
    session_seconds: float


class ScoreReport(msgspec.Struct, frozen=True):
    """The object of `mitigate score --format json`.

    `unscored`: announced by a dry run, and not followed to the end. `imported`: incidents with imported actions.
    """

    schema_version: int
    since: str
    needless_seconds: float
    rules: tuple[RuleScore, ...]
    unscored: int
    rehearsals: tuple[RehearsalScore, ...]
    imported: int = 0


def make_score_report(
    scores: Sequence[RehearsalScore], *, since: datetime, unscored: int, imported: int = 0
) -> ScoreReport:
    """The report of scores in the order of their decisions."""
    groups: dict[tuple[str, str], list[RehearsalScore]] = defaultdict(list)
    for score in scores:
        groups[score.rule, score.classification].append(score)
    rules = [_sum_up(rule, name, found) for (rule, name), found in groups.items()]
    rules.sort(key=lambda each: (-each.session_seconds, each.rule, each.classification))
    return ScoreReport(
        schema_version=1,
        since=since.isoformat(timespec="seconds"),
        needless_seconds=NEEDLESS_SECONDS,
        rules=tuple(rules),
        unscored=unscored,
        rehearsals=tuple(scores),
        imported=imported,
    )


def score_to_json(report: ScoreReport) -> bytes:
    """The report as one JSON object."""
    return encode_json(report)


def score_lines(report: ScoreReport, columns: int | None) -> Iterator[Span]:
    """The report for a person, in lines of at most `columns` cells; None: not wrapped. The tables keep their width."""
    if report.rules:
        yield from (Span(line) for line in _draw_rules(report).splitlines())
        yield Span("")
    yield from lay_out_paragraphs((Paragraph(sentence) for sentence in _list_sentences(report)), columns)
    if report.rehearsals:
        yield Span("")
        yield from (Span(line) for line in _draw_rehearsals(report).splitlines())


def describe_saving(score: RehearsalScore) -> str:
    """What the action would have done: `armed, rule "idle" would have ended this after 16 s; …`."""
    said = f"armed, rule {score.rule} would have sent {score.signal}"
    match score.result:
        case "helped":
            earlier, saved = format_duration(score.seconds), format_duration(score.session_seconds)
            return f"{said}: its waiters released {earlier} earlier, and at least {saved} of waiting saved"
        case "needless":
            return f"{said}: needless, because the blocker ended by itself within {format_duration(NEEDLESS_SECONDS)}"
        case "wrong_class":
            return f"{said}: to the wrong class, for the blocker was mostly {score.later_class}"
        case "refused":
            return f"{said}: the server would have refused it"
        case "unknown":
            return f"{said}: its effect is unknown, for the agent ended first"


def describe_armed(scores: Sequence[RehearsalScore], started: datetime) -> str:
    """What armed rules would have come to in an incident, in one sentence: when, and how much waiting was saved."""
    if not scores:
        return "No rule would have sent a signal, as far as it was recorded."
    first = min(scores, key=lambda each: each.decided_at)
    after = format_duration(max((first.decided_at - started) / timedelta(seconds=1), 0.0))
    helped = [each for each in scores if each.result == "helped"]
    saved = f"{format_duration(sum(each.session_seconds for each in helped))} of session time"
    if not helped:
        return f"Armed, it would have sent {format_count(len(scores), 'signal')}, the first after {after}: none helps."
    if len(scores) == 1:
        return f"Armed, it would have ended this after {after} and saved at least {saved}."
    count = f"{len(helped):,} of {format_count(len(scores), 'signal')} {format_verb(len(helped), 'help')}"
    return f"Armed, it would have acted after {after} and saved at least {saved}: {count}."


def _sum_up(rule: str, classification: str, scores: Sequence[RehearsalScore]) -> RuleScore:
    helped = [each for each in scores if each.result == "helped"]
    seconds = [each.seconds for each in helped]
    counts = {
        name: sum(each.result == name for each in scores) for name in ("needless", "wrong_class", "refused", "unknown")
    }
    return RuleScore(
        rule=rule,
        classification=classification,
        actions=len(scores),
        helped=len(helped),
        median_seconds=round(median(seconds), 3) if seconds else None,
        longest_seconds=max(seconds, default=None),
        session_seconds=round(sum(each.session_seconds for each in helped), 3),
        **counts,
    )


def _draw_rules(report: ScoreReport) -> str:
    headers = (
        "rule",
        "class",
        "actions",
        "helped",
        "needless",
        "wrong class",
        "refused",
        "unknown",
        "median gain",
        "time saved",
    )
    rows = [
        (
            format_one_line(each.rule, _WIDTH),
            each.classification,
            each.actions,
            each.helped,
            each.needless,
            each.wrong_class,
            each.refused,
            each.unknown,
            "" if each.median_seconds is None else format_duration(each.median_seconds),
            format_duration(each.session_seconds),
        )
        for each in report.rules
    ]
    return tabulate(rows, headers, disable_numparse=True)


def _list_sentences(report: ScoreReport) -> Iterator[str]:
    total, helped = sum(each.actions for each in report.rules), sum(each.helped for each in report.rules)
    if not total:
        yield f"No rehearsed action since {report.since[:10]}: modes observe and dry_run record what rules would do."
    else:
        saved = format_duration(sum(each.session_seconds for each in report.rules))
        others = total - helped
        rest = f"; {format_count(others, 'action')} {format_verb(others, 'do')} not" if others else ""
        yield (
            f"Armed, the rules would have sent {format_count(total, 'signal')} since {report.since[:10]}. "
            f"{format_count(helped, 'action')} {format_verb(helped, 'help')} "
            f"and {format_verb(helped, 'save')} at least {saved} of waiting{rest}."
        )
        yield (
            f"needless: the blocker ended by itself within {format_duration(report.needless_seconds)}. wrong class: "
            "the blocker had another class for most of the time afterwards. refused: the role may not signal the "
            "session. The gain is how much earlier waiters would have been released; only observed time counts."
        )
    if report.imported:
        yield f"Actions of {format_count(report.imported, 'imported incident')} are counted."
    if report.unscored:
        noun = format_count(report.unscored, "action")
        yield f"{noun} of dry runs {format_verb(report.unscored, 'have')} no score: the agent ended first."


def _draw_rehearsals(report: ScoreReport) -> str:
    headers = ("decided (UTC)", "rule", "signal", "on", "frees", "result", "gain", "time saved")
    rows = [
        (
            format_moment(each.decided_at),
            format_one_line(each.rule, _WIDTH),
            each.signal,
            format_one_line(each.relation or "?", _WIDTH),
            each.frees,
            each.result.replace("_", " "),
            format_duration(each.seconds),
            format_duration(each.session_seconds),
        )
        for each in report.rehearsals[-_MOST_LISTED:]
    ]
    return tabulate(rows, headers, disable_numparse=True)
