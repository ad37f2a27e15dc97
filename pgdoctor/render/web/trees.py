"""The lock trees as markup: each root blocker with its evidence, and who stands behind it."""

from collections.abc import Callable, Iterator, Sequence

from pgdoctor.formatting import format_count
from pgdoctor.render.report import BlockerReport, Report, Wait
from pgdoctor.render.tree import format_awaited, format_wait, left_out
from pgdoctor.render.wait_trees import Branch, OmittedRows, WaitTree, build_trees, describe_blocker
from pgdoctor.render.web.markup import client_markup, code_markup, name_markup, sentence_markup, text_markup

#: Root blockers that are shown in full, and those that get a line; the rest is counted.
_MOST_TOLD = 8
_MOST_NAMED = 40

#: Sessions drawn right below another, steps down, and sessions in all trees together.
_MOST_CHILDREN = 10
_MOST_STEPS = 8
_MOST_DRAWN = 160

_WAITER_STATEMENT = 240


def trees_markup(report: Report) -> Iterator[str]:
    """Everything about who blocks whom."""
    roots = sum(blocker.root or blocker.in_cycle for blocker in report.blockers)
    if not roots:
        return
    most = max(_MOST_DRAWN // min(roots, _MOST_TOLD), 1)
    grown = list(build_trees(report, _MOST_CHILDREN, _MOST_STEPS, most))
    yield '<section aria-labelledby="trees"><h2 id="trees">Blockers and waiting sessions</h2>'
    for tree in grown[:_MOST_TOLD]:
        yield from _write_tree(tree)
    named = grown[_MOST_TOLD : _MOST_TOLD + _MOST_NAMED]
    if named:
        yield '<ul class="card list">'
        yield from (f"<li>{_write_heading(tree.blocker)}</li>" for tree in named)
        rest = len(grown) - _MOST_TOLD - len(named)
        if rest:
            yield f'<li class="dim">and {format_count(rest, "root blocker")} more</li>'
        yield "</ul>"
    yield "</section>"


def _write_tree(tree: WaitTree) -> Iterator[str]:
    blocker = tree.blocker
    # The script uses it to restore the scroll position; a prepared transaction has no number.
    place = f' id="b{blocker.pid}"' if blocker.pid is not None else ""
    yield f'<article class="card"{place}>'
    yield f"<h3>{blocker_heading(blocker)}</h3>"
    direct = "" if blocker.directly_blocked == blocker.blocked_sessions else f", {blocker.directly_blocked:,} directly"
    yield f'<p class="reach"><b>blocks {format_count(blocker.blocked_sessions, "session")}</b>{direct} '
    yield f"{client_markup(blocker.user, blocker.database, blocker.application)}</p>"
    if blocker.evidence:
        yield (
            '<ul class="evidence">'
            + "".join(f"<li>{sentence_markup(each)}</li>" for each in blocker.evidence)
            + "</ul>"
        )
    if blocker.statement:
        runs = "runs" if blocker.state == "active" else "last ran"
        yield f'<p class="runs"><span class="dim">{runs}</span> {code_markup(blocker.statement)}</p>'
    advice = blocker.recommendation
    signal = "do not signal" if advice.action == "none" else f"{advice.action} {advice.pid}"
    yield f'<p class="advice">→ <b>{text_markup(signal)}</b>: {sentence_markup(advice.reason)}</p>'
    if blocker.advice:
        yield f'<p class="advice"><span class="dim">next time:</span> {sentence_markup(blocker.advice)}</p>'
    yield '<div class="tree">'
    yield from write_branches(tree.below, tree.rest, _write_waiter)
    yield "</div></article>"


def blocker_heading(blocker: BlockerReport) -> str:
    """`4242 idle_in_transaction on public.orders`."""
    also = f", also {', '.join(blocker.also)}" if blocker.also else ""
    where = f" on {name_markup(blocker.place)}" if blocker.place else ""
    return (
        f'<span class="pid">{name_markup(describe_blocker(blocker))}</span> '
        f"{text_markup(blocker.classification)}{sentence_markup(also)}{where}"
    )


def _write_heading(blocker: BlockerReport) -> str:
    return (
        f'{blocker_heading(blocker)} <span class="dim">blocks '
        f"{format_count(blocker.blocked_sessions, 'session')}</span>"
    )


def write_branches(
    below: Sequence[Branch], rest: OmittedRows, write_waiter: Callable[[Wait, BlockerReport | None], str]
) -> Iterator[str]:
    """The sessions behind one blocker, as nested lists; `write_waiter` gives the HTML of one session."""
    if not (below or rest.sessions):
        return
    yield "<ul>"
    for branch in below:
        yield f"<li>{write_waiter(branch.wait, branch.facts)}"
        yield from write_branches(branch.below, branch.rest, write_waiter)
        yield "</li>"
    if rest.sessions:
        yield f'<li class="rest">{sentence_markup(left_out(rest))}</li>'
    yield "</ul>"


def _write_waiter(wait: Wait, facts: BlockerReport | None) -> str:
    """One line, which opens to what it runs."""
    since = format_wait(wait, "briefly")
    queued = ", queued" if wait.queued else ""
    blocks = _write_blocked(facts) if facts else ""
    line = (
        f'<span class="pid">{wait.blocked_pid}</span> has waited <span class="wait">{since}</span> '
        f"for {sentence_markup(format_awaited(wait))}{queued}{blocks} · "
        f"{client_markup(wait.blocked_user, None, wait.blocked_application)}"
    )
    if not wait.blocked_statement:
        return f"<p>{line}</p>"
    return (
        f'<details id="w{wait.blocked_pid}"><summary>{line}</summary>'
        f"<div>{code_markup(wait.blocked_statement, _WAITER_STATEMENT)}</div></details>"
    )


def _write_blocked(facts: BlockerReport) -> str:
    """Loud only where it is a cause of its own: in a convoy each session blocks the later ones."""
    if facts.classification == "unknown":
        return f' <span class="chip">blocks {facts.blocked_sessions:,}</span>'
    return f' <span class="chip bad">blocks {facts.blocked_sessions:,}, {text_markup(facts.classification)}</span>'
