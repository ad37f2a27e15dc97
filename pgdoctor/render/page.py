"""A diagnosis as a web page: for a phone at three in the morning. No script; everything from outside is escaped."""

from collections.abc import Iterator, Sequence
from html import escape

import msgspec

from pgdoctor.diagnosis.remedy import Cut, CutSet, Spared
from pgdoctor.diagnosis.words import count, duration
from pgdoctor.render.forest import Branch, forest, who
from pgdoctor.render.plain import one_line
from pgdoctor.render.report import BlockerFacts, Report, Wait
from pgdoctor.render.tree import headline, named, released, signals, to_do

#: Seconds between two loads of the page.
REFRESH = 5

#: Blockers, sessions below one blocker, and steps of the tree that are drawn; the rest is counted.
_MOST_BLOCKERS = 50
_MOST_CHILDREN = 20
_MOST_STEPS = 8

#: Seconds from which on it is said that the look is older than the poll.
_NOTABLE_LAG = 2.0

_STATEMENT_WIDTH = 400
_NAME_WIDTH = 100

#: The only style there is; the server allows it by its hash.
STYLE = """
:root { color-scheme: light dark; --line: #8884; --dim: #767676; }
body { font: 1rem/1.45 system-ui, sans-serif; margin: 0 auto; max-width: 60rem; padding: 0 1rem 2rem; }
h1 { font-size: 1.15rem; } h2 { font-size: 1.05rem; margin: 0 0 .3rem; } p { margin: .4rem 0; }
code { font: .9em/1.4 ui-monospace, monospace; overflow-wrap: anywhere; }
.status { border-left: .5rem solid; border-radius: .3rem; padding: .5rem .8rem; margin: .6rem 0; }
.good { border-color: #2e9e4f; } .bad { border-color: #d3302f; } .warn { border-color: #e09500; }
article { border: 1px solid var(--line); border-radius: .5rem; padding: .7rem .9rem; margin: .8rem 0; }
ul { margin: .3rem 0; padding-left: 1.1rem; } .tree ul { border-left: 1px solid var(--line); list-style: none; }
.do { font-weight: 600; } .dim { color: var(--dim); } footer { color: var(--dim); font-size: .85rem; }
table { border-collapse: collapse; } th, td { text-align: left; padding: .2rem .7rem .2rem 0; vertical-align: top; }
.wide { overflow-x: auto; }
"""


class Watch(msgspec.Struct, frozen=True):
    """How the agent itself is: what is said above every diagnosis."""

    #: Why there is no diagnosis; None where there is one.
    error: str | None
    #: One of the states of a connection.
    connection: str
    #: Seconds since the last successful poll; None: there was none yet.
    age: float | None
    hidden_sessions: int
    #: off, observe, dry_run, enforce, or disarmed where a reload failed.
    mode: str
    version: str
    #: The name of the server; None where it is the only one.
    server: str | None = None
    #: Seconds since the full look that is shown.
    looked: float = 0.0


_MODES = {
    "off": "Mitigation is off: nothing is signalled.",
    "observe": "Mitigation observes: rules are judged, nothing is signalled.",
    "dry_run": "Mitigation is a dry run: what it would signal is only logged.",
    "enforce": "Mitigation is ARMED: sessions are cancelled and terminated by the rules.",
    "disarmed": "Mitigation is DISARMED: the configuration is broken, nothing is signalled until it is mended.",
}

_LOUD_MODES = ("enforce", "disarmed")


def head(title: str) -> str:
    """What every page begins with."""
    return "\n".join(
        (
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="refresh" content="{REFRESH}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{_text(title)}</title><style>{STYLE}</style></head><body>",
        )
    )


def page(watch: Watch, report: Report | None) -> str:
    """The whole page; `report` is None while the server cannot be asked."""
    return "\n".join(
        (
            head(_title(watch, report)),
            *_status(watch, report),
            *(_incident(report) if report is not None else ()),
            f"<footer>{_text(_foot(watch))}</footer></body></html>",
        )
    )


def _title(watch: Watch, report: Report | None) -> str:
    name = f"pgdoctor {watch.server}" if watch.server else "pgdoctor"
    return f"{name}: DOWN" if report is None else f"{name}: {report.blocked_sessions:,} blocked"


def _status(watch: Watch, report: Report | None) -> Iterator[str]:
    all_servers = ' <a href="/">all servers</a>' if watch.server else ""
    yield f"<h1>pgdoctor {_text(watch.server or '')}{all_servers}</h1>"
    if report is None:
        yield _box("bad", f"DOWN ({watch.connection or 'not connected yet'}): {watch.error or 'no diagnosis'}")
    else:
        yield _box("bad" if report.blocked_sessions else "good", headline(report))
    if watch.hidden_sessions:
        yield _box(
            "warn",
            f"BLIND: {count(watch.hidden_sessions, 'session')} cannot be seen by this role; causes may stay unknown. "
            "Grant pg_monitor (pgdoctor setup prints how).",
        )
    yield _box("warn" if watch.mode in _LOUD_MODES else "good", _MODES.get(watch.mode, watch.mode))


def _incident(report: Report) -> Iterator[str]:
    yield from _advice(report)
    trees = list(forest(report, _MOST_CHILDREN, _MOST_STEPS, _longest_first))
    for tree in trees[:_MOST_BLOCKERS]:
        yield from _article(tree.blocker)
        yield '<div class="tree">'
        yield from _branches(tree.below, tree.more)
        yield "</div></article>"
    if len(trees) > _MOST_BLOCKERS:
        yield f"<p>and {count(len(trees) - _MOST_BLOCKERS, 'root blocker')} more</p>"
    yield from _cuts(report)
    yield from _findings(report)


def _article(blocker: BlockerFacts) -> Iterator[str]:
    also = f" (also {', '.join(blocker.also)})" if blocker.also else ""
    where = f" on {blocker.relation}" if blocker.relation else ""
    yield "<article>"
    yield f"<h2>{_text(who(blocker))} {_text(blocker.classification + also + where)}</h2>"
    yield f"<p>blocks {count(blocker.blocked_sessions, 'session')}, {blocker.directly_blocked:,} of them directly"
    yield f' <span class="dim">{_text(_client(blocker.user, blocker.database, blocker.application))}</span></p>'
    yield "<ul>" + "".join(f"<li>{_text(each)}</li>" for each in blocker.evidence) + "</ul>"
    if blocker.statement:
        yield f"<p>{'runs' if blocker.state == 'active' else 'last ran'} {_code(blocker.statement)}</p>"
    advice = blocker.recommendation
    signal = "do not signal" if advice.action == "none" else f"{advice.action} {advice.pid}"
    yield f'<p><span class="do">{_text(signal)}</span>: {_text(advice.reason)}</p>'
    if blocker.advice:
        yield f"<p>next time: {_text(blocker.advice)}</p>"


def _longest_first(wait: Wait) -> float:
    return -(wait.wait_seconds or 0.0)


def _branches(below: Sequence[Branch], more: int) -> Iterator[str]:
    """The sessions behind one blocker."""
    if not below:
        return
    yield "<ul>"
    for branch in below:
        yield f"<li>{_waiter(branch.wait, branch.facts)}"
        yield from _branches(branch.below, branch.more)
        yield "</li>"
    if more:
        yield f"<li>and {count(more, 'session')} more</li>"
    yield "</ul>"


def _waiter(wait: Wait, facts: BlockerFacts | None) -> str:
    since = duration(wait.wait_seconds) if wait.wait_seconds is not None else "a moment"
    lock = f"{wait.lock_mode} on {wait.relation or wait.lock_type}" if wait.lock_mode else "a lock"
    queued = ", queued" if wait.queued else ""
    blocks = f"; blocks {facts.blocked_sessions:,} itself ({facts.classification})" if facts else ""
    who = _client(wait.blocked_user, None, wait.blocked_application)
    statement = f" {_code(wait.blocked_statement)}" if wait.blocked_statement else ""
    said = _text(f"{wait.blocked_pid} waits {since} for {lock}{queued}{blocks}")
    return f'{said} <span class="dim">{_text(who)}</span>{statement}'


def _advice(report: Report) -> Iterator[str]:
    advice = report.recommendation
    if advice is None:
        return
    frees = f" frees {released(advice)}; costs {advice.loses}." if advice.signals else "."
    said = _text(f"{frees} {advice.reason}")
    yield f'<p class="status warn"><span class="do">{_text(to_do(advice))}</span>{said}</p>'


def _cuts(report: Report) -> Iterator[str]:
    rows: list[tuple[str, Cut | CutSet | Spared, str]] = [
        (f"{cut.action} {cut.pid}", cut, cut.loses) for cut in report.cuts
    ]
    rows += [(signals(each.signals), each, each.loses) for each in report.cut_sets]
    rows += [
        (f"leave {left.prepared_gid if left.pid is None else left.pid} alone", left, left.loses or "")
        for left in report.left_alone
    ]
    if not rows:
        return
    yield '<article><h2>What each cut would free</h2><div class="wide"><table>'
    yield "<tr><th>cut</th><th>at once</th><th>in turn</th><th>costs</th><th>frees</th></tr>"
    for what, choice, loses in rows:
        forecast = "" if choice.exact else " (forecast)"
        yield (
            f"<tr><td>{_text(what)}</td><td>{choice.frees_at_once:,}{forecast}</td>"
            f"<td>{choice.frees_in_turn:,}</td><td>{_text(loses)}</td><td>{_text(named(choice))}</td></tr>"
        )
    yield "</table></div></article>"


def _findings(report: Report) -> Iterator[str]:
    for note in report.findings:
        yield _box("bad" if note.severity == "critical" else "warn", f"{note.severity}: {note.summary}. {note.advice}")


def _foot(watch: Watch) -> str:
    age = "never polled with success" if watch.age is None else f"last successful poll {duration(watch.age)} ago"
    if watch.looked > (watch.age or 0.0) + _NOTABLE_LAG:
        age += f"; last full look at the locks {duration(watch.looked)} ago, for looks are spaced out by their cost"
    return f"pgdoctor {watch.version}; {age}; this page reloads every {REFRESH} s"


def _client(user: str | None, database: str | None, application: str | None) -> str:
    at = f"@{database}" if database else ""
    name = f' "{one_line(application, _NAME_WIDTH)}"' if application else ""
    return f"{user or '?'}{at}{name}"


def _box(kind: str, text: str) -> str:
    return f'<p class="status {kind}">{_text(text)}</p>'


def _code(statement: str) -> str:
    return f"<code>{escape(one_line(statement, _STATEMENT_WIDTH))}</code>"


def _text(text: str) -> str:
    return escape(one_line(text, 1_000))
