"""What stands below the trees: cuts, connections, findings, mitigation, and the last incidents."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from pgdoctor.diagnosis.cuts import Cut, CutSet, LeaveAlone
from pgdoctor.diagnosis.manual_signal import ROLLBACK_WARNING
from pgdoctor.formatting import format_count, format_duration
from pgdoctor.incidents.incident import Incident
from pgdoctor.mitigation.history import Action
from pgdoctor.model.server_context import ClientApplication, describe_origin
from pgdoctor.render.report import Report
from pgdoctor.render.tree import format_freed, format_released, format_signals
from pgdoctor.render.web.incident_links import incident_link
from pgdoctor.render.web.markup import note_markup, paste_markup, sentence_markup, sql_name, text_markup
from pgdoctor.render.web.monitoring_status import Arming, MonitoringStatus
from pgdoctor.render.web.sparkline import last_hour_markup

_MODES = {
    "off": ("good", "Off: no signals are sent."),
    "observe": ("good", "Observe: rules are evaluated, no signals are sent."),
    "dry_run": ("good", "A dry run: signals are only logged, not sent."),
    "enforce": ("warn", "ARMED: sessions are cancelled and terminated by the rules."),
    "lapsed": ("warn", "DRY RUN ONLY, although the configuration says enforce: no signals are sent."),
    "disarmed": ("warn", "DISARMED: the configuration is invalid; no signals are sent until it is corrected."),
}

#: By state of connections: what people call it, and the class of its colour.
_STATES = {
    "active": ("active", "active"),
    "idle_in_transaction": ("idle in transaction", "held"),
    "idle_in_transaction_aborted": ("idle in an aborted transaction", "aborted"),
    "fastpath_function_call": ("in a fast-path call", "other"),
    "unknown": ("unknown", "other"),
    "idle": ("idle", "idle"),
}

#: Lines of a finding, actions and incidents that are listed.
_MOST_EVIDENCE = 6
_MOST_CLIENTS = 4
_MOST_ACTIONS = 5
_MOST_ENDED = 20

#: Seconds after which a time of day alone would not say when.
_HALF_A_DAY = 43_200.0


def cuts_panel(report: Report) -> Iterator[str]:
    """What each possible cut would free."""
    rows: list[tuple[str, Cut | CutSet | LeaveAlone, str, str]] = [
        (f"{cut.action} {cut.pid}", cut, cut.loses, cut.sql or "") for cut in report.cuts
    ]
    rows += [(format_signals(each.signals), each, each.loses, "\n".join(each.sql)) for each in report.cut_sets]
    rows += [
        (f"leave {left.prepared_gid if left.pid is None else left.pid} alone", left, left.loses or "", left.sql or "")
        for left in report.left_alone
    ]
    if not rows:
        return
    yield '<section aria-labelledby="cuts"><h2 id="cuts">What each signal would free</h2><ul class="card list cuts">'
    for what, choice, loses, sql in rows:
        costs = f"costs {sentence_markup(loses)}" if loses else ""
        yield (
            f"<li><b>{sentence_markup(what)}</b> <span>frees {text_markup(format_released(choice))}"
            f' <span class="dim">{text_markup(format_freed(choice))}</span></span> <span>{costs}</span>'
            f"{_to_paste(what, choice, sql)}</li>"
        )
    yield "</ul></section>"


def _to_paste(what: str, choice: Cut | CutSet | LeaveAlone, sql: str) -> str:
    """What does it by hand, for the very sessions that were judged."""
    if not sql:
        return ""
    if isinstance(choice, LeaveAlone):
        return f'<p class="sql">{text_markup(ROLLBACK_WARNING)}:</p>{paste_markup(sql_name(sql), sql, "roll it back")}'
    return paste_markup(sql_name(sql), sql, what)


def connections_panel(report: Report, clients: Sequence[ClientApplication]) -> Iterator[str]:
    """How full the server is, with what, and whose they are."""
    server = report.server
    states = [
        (getattr(server.connections_by_state, state), *names)
        for state, names in _STATES.items()
        if getattr(server.connections_by_state, state)
    ]
    most = max(server.max_connections, server.connections, 1)
    yield '<section aria-labelledby="connections"><h2 id="connections">Connections</h2><div class="card">'
    yield f'<svg class="bar" viewBox="0 0 {most} 1" preserveAspectRatio="none" aria-hidden="true">'
    before = 0
    for number, _, colour in states:
        yield f'<rect class="{colour}" x="{before}" width="{number}" height="1"/>'
        before += number
    yield f"</svg><p><b>{server.connections:,}</b> of {server.max_connections:,} in use</p>"
    yield '<ul class="states dim">'
    yield from (f'<li><span class="key {colour}"></span>{number:,} {name}</li>' for number, name, colour in states)
    yield "</ul>"
    if clients:
        yield '<ul class="holders dim">'
        yield from (
            f"<li>{each.connections:,} of {sentence_markup(describe_origin(each))}</li>"
            for each in clients[:_MOST_CLIENTS]
        )
        yield "</ul>"
    yield "</div></section>"


def last_hour_panel(watch: MonitoringStatus) -> Iterator[str]:
    """Blocked sessions and connections of the last hour."""
    pictures = last_hour_markup(watch.recent, watch.slots)
    if not pictures:
        return
    yield '<section aria-labelledby="hour"><h2 id="hour">Last hour</h2><div class="card">'
    yield f"{pictures}"
    yield '<p class="axis dim">Left: an hour ago; right: now; a gap: no successful poll.</p>'
    yield "</div></section>"


def findings_panel(report: Report) -> Iterator[str]:
    """What is wrong beside locks; that sessions are hidden is said at the top already."""
    notes = [each for each in report.findings if each.kind != "visibility"]
    if not notes:
        return
    yield '<section aria-labelledby="findings"><h2 id="findings">Findings</h2>'
    for each in notes:
        kind = {"critical": "bad", "warning": "warn"}.get(each.severity, "calm")
        yield f'<div class="note {kind}"><p><b>{text_markup(each.severity)}:</b> {sentence_markup(each.summary)}</p>'
        yield f"<p>→ {sentence_markup(each.advice)}</p>"
        yield from _write_evidence(each.evidence)
        yield "</div>"
    yield "</section>"


def _write_evidence(lines: Sequence[str]) -> Iterator[str]:
    """Who or what a finding is about."""
    if not lines:
        return
    yield '<ul class="evidence">'
    yield from (f"<li>{sentence_markup(line)}</li>" for line in lines[:_MOST_EVIDENCE])
    if len(lines) > _MOST_EVIDENCE:
        yield f'<li class="dim">and {len(lines) - _MOST_EVIDENCE:,} more</li>'
    yield "</ul>"


def mitigation_panel(watch: MonitoringStatus) -> Iterator[str]:
    """Armed or not, what holds it back, and what it has done."""
    yield '<section aria-labelledby="mitigation"><h2 id="mitigation">Mitigation</h2><div class="card">'
    yield f"<p>{text_markup(_MODES.get(watch.arming.mode, ('', watch.arming.mode))[1])}</p>"
    if watch.arming.leads:
        yield '<p class="dim">This agent is the leader: no other agent acts at this server.</p>'
    yield from (note_markup("warn", reason) for reason in watch.arming.held_back)
    if watch.arming.actions:
        yield '<ul class="list">'
        for action in reversed(watch.arming.actions[-_MOST_ACTIONS:]):
            yield f"<li>{_write_action(action, watch.now)}</li>"
        yield "</ul>"
    yield "</div></section>"


def mitigation_warning(arming: Arming) -> str | None:
    """What has to be said at the top of the page about mitigation; None: nothing."""
    kind, said = _MODES.get(arming.mode, ("warn", arming.mode))
    return said if kind == "warn" else None


def incidents_panel(watch: MonitoringStatus) -> Iterator[str]:
    """The one that goes on, and the last ones."""
    yield '<section aria-labelledby="incidents"><h2 id="incidents">Last incidents</h2><div class="card">'
    if watch.incident is None and not watch.ended:
        yield '<p class="dim">None so far.</p></div></section>'
        return
    yield '<ul class="list">'
    if watch.incident is not None:
        began = watch.incident.started
        shown = _write_incident(watch.incident, watch.server)
        yield f"<li>{shown} <b>ongoing</b>, started {_write_moment(began, watch.now)}</li>"
    for event in reversed(watch.ended[-_MOST_ENDED:]):
        lasted = format_duration(event.incident.seconds_until(event.at))
        shown = _write_incident(event.incident, watch.server)
        yield f"<li>{shown} for {lasted}, until {_write_moment(event.at, watch.now)}</li>"
    of = f"?server={text_markup(watch.server)}" if watch.server else ""
    yield f'</ul><p><a id="all-incidents" href="incidents{of}">all incidents</a></p></div></section>'


def _write_incident(incident: Incident, server: str | None) -> str:
    return (
        # By its id the script finds the link again that the keyboard stands on.
        f'<a id="i{text_markup(incident.id)}" href="{incident_link(incident.id, server)}">'
        f"<b>{text_markup(' → '.join(incident.classes))}</b></a>: up to "
        f"{format_count(incident.peak_blocked, 'session')} blocked"
    )


def _write_action(action: Action, now: datetime | None) -> str:
    outcome = (action.outcome or "in progress").replace("_", " ")
    after = f" after {format_duration(action.seconds)}" if action.seconds is not None else ""
    where = f" on {action.relation}" if action.relation else ""
    what = f"{action.signal} {action.victim.pid}"
    return (
        f"<b>{text_markup(what)}</b> {sentence_markup(f'{action.classification}{where}, rule {action.rule}')}: "
        f"{text_markup(outcome)}{after}, {_write_moment(action.at, now)}"
    )


def _write_moment(moment: datetime, now: datetime | None) -> str:
    at = moment.astimezone(UTC)
    seconds = max((now - at).total_seconds(), 0.0) if now is not None else None
    ago = f" ({format_duration(seconds)} ago)" if seconds is not None else ""
    day = f"{at:%Y-%m-%d} " if seconds is None or seconds > _HALF_A_DAY else ""
    said = f"{day}{at:%H:%M:%S} UTC"
    return f'<time datetime="{at.isoformat(timespec="seconds")}">{said}</time><span class="dim">{ago}</span>'
