"""The top of the page: the problem, and what to do about it."""

from collections.abc import Iterator

import msgspec

from pgdoctor.diagnosis.recommendation import Advice
from pgdoctor.formatting import format_count
from pgdoctor.render.report import Report
from pgdoctor.render.tree import describe_blocked, format_released, to_do
from pgdoctor.render.unreachable import what_to_do
from pgdoctor.render.web.markup import client_markup, copy_button, sentence_markup, sql_name, text_markup
from pgdoctor.render.web.monitoring_status import MonitoringStatus
from pgdoctor.render.web.trees import blocker_heading

#: Root blockers that are named at the top.
_MOST_ROOTS = 2

_SEVERITIES = {"critical": "bad", "warning": "warn"}


class PageVerdict(msgspec.Struct, frozen=True):
    """What is the matter, of a `kind`: good, warn or bad. `do`, `why` and `who` are markup."""

    kind: str
    hurts: str
    do: str
    why: str = ""
    who: str = ""


def judge_page(watch: MonitoringStatus, report: Report | None) -> PageVerdict:
    """The first thing to know, and the second. Nothing is good while something cannot be seen."""
    if report is None:
        kind = "bad" if watch.connection else "warn"
        error = watch.error or "no diagnosis"
        return PageVerdict(kind, f"DOWN: {error}", text_markup(what_to_do(watch.connection)))
    if report.blocked_sessions:
        return _judge_blocked(report)
    worst = min(
        (note for note in report.findings if note.severity in _SEVERITIES and note.kind != "visibility"),
        key=lambda note: list(_SEVERITIES).index(note.severity),
        default=None,
    )
    if worst is not None:
        kind = _SEVERITIES[worst.severity]
        return PageVerdict(kind, f"No session is blocked, but {worst.summary}", f"→ {sentence_markup(worst.advice)}")
    if watch.hidden_sessions:
        hidden = format_count(watch.hidden_sessions, "session")
        return PageVerdict("warn", f"No blocked session is visible, but {hidden} cannot be seen", text_markup(_GRANT))
    return PageVerdict("good", "No session is blocked", "No action is needed.")


#: The cure of blindness.
_GRANT = "→ Grant pg_monitor to pgdoctor's role (pgdoctor setup prints how)."


def verdict_markup(watch: MonitoringStatus, found: PageVerdict) -> Iterator[str]:
    """As markup, with what makes it doubtful right below."""
    name = f"{watch.server}: " if watch.server else ""
    yield f'<div class="verdict {found.kind}"><h1>{sentence_markup(name + found.hurts)}</h1>'
    yield f'{found.who}<p class="do">{found.do}</p>{found.why}</div>'
    if watch.hidden_sessions and "cannot be seen" not in found.hurts:
        hidden = format_count(watch.hidden_sessions, "session")
        yield (
            f'<p class="note warn"><b>BLIND:</b> {hidden} cannot be seen by this role; causes may stay unknown. '
            f"{text_markup(_GRANT)}</p>"
        )


def _judge_blocked(report: Report) -> PageVerdict:
    advice, who = report.recommendation, "".join(_write_roots(report))
    if advice is None:
        return PageVerdict("bad", describe_blocked(report), "", who=who)
    why = f'<p class="why">{sentence_markup(_capitalize_first(advice.reason))}.</p>'
    if advice.not_permitted:
        why += f'<p class="note warn">{sentence_markup(advice.not_permitted)}</p>'
    return PageVerdict("bad", describe_blocked(report), _write_advice(advice, report), why, who)


def _write_roots(report: Report) -> Iterator[str]:
    """The root blockers with the widest reach."""
    roots = [blocker for blocker in report.blockers if blocker.root]
    for blocker in roots[:_MOST_ROOTS]:
        blocks = f"blocks {blocker.blocked_sessions:,} · {client_markup(blocker.user, None, blocker.application)}"
        yield f'<p class="who"><b>{blocker_heading(blocker)}</b> {blocks}</p>'
    if len(roots) > _MOST_ROOTS:
        yield f'<p class="who dim">and {format_count(len(roots) - _MOST_ROOTS, "root blocker")} more</p>'


def _write_advice(advice: Advice, report: Report) -> str:
    if not advice.signals:
        return f"→ <b>{sentence_markup(to_do(advice))}</b>"
    return (
        f"→ <b>{sentence_markup(to_do(advice))}</b>{_introduce_session(advice, report)} "
        f"frees {text_markup(format_released(advice))}; "
        f"costs {sentence_markup(advice.loses or '')}{_render_copy_button(advice)}"
    )


def _render_copy_button(advice: Advice) -> str:
    """The button for the SQL that stands below, under the cut."""
    if not advice.sql:
        return ""
    name = sql_name("\n".join(advice.sql))
    return f" {copy_button(name, f'best-{name}', to_do(advice))}"


def _introduce_session(advice: Advice, report: Report) -> str:
    """The session's name if it is no root blocker but one in the queue."""
    pids = [signal.pid for signal in advice.signals]
    if len(pids) > 1:
        return ""
    found = next((each for each in report.blockers if each.pid == pids[0] and not each.root), None)
    if found is None:
        return ""
    return f" ({text_markup(found.classification)} by {client_markup(found.user, None, found.application)})"


def _capitalize_first(words: str) -> str:
    return words[:1].upper() + words[1:]
