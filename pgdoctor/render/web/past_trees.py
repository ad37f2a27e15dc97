"""The lock trees of a moment that is over, for files and paper: nothing is folded, and nothing is to be done."""

from collections.abc import Iterator

from pgdoctor.formatting import format_count
from pgdoctor.render.report import BlockerReport, Report, Wait
from pgdoctor.render.tree import describe_statement, format_awaited, format_wait
from pgdoctor.render.wait_trees import build_trees
from pgdoctor.render.web.markup import client_markup, code_markup, sentence_markup
from pgdoctor.render.web.trees import blocker_heading, write_branches

#: Sessions drawn right below another, steps down, sessions in one tree, trees.
_MOST_CHILDREN = 20
_MOST_STEPS = 8
_MOST_DRAWN = 160
_MOST_TREES = 10


def past_trees_markup(moment: Report) -> Iterator[str]:
    """The trees of a moment that is over: with evidence, and without anything to do now."""
    trees = list(build_trees(moment, _MOST_CHILDREN, _MOST_STEPS, _MOST_DRAWN))
    for tree in trees[:_MOST_TREES]:
        blocker = tree.blocker
        yield f'<article class="card"><h3>{blocker_heading(blocker)}</h3>'
        yield f'<p class="reach"><b>blocked {format_count(blocker.blocked_sessions, "session")}</b> '
        yield f'{client_markup(blocker.user, blocker.database, blocker.application)}</p><ul class="evidence">'
        yield from (f"<li>{sentence_markup(each)}</li>" for each in blocker.evidence)
        yield "</ul>"
        if blocker.statement:
            statement = code_markup(blocker.statement)
            yield f'<p class="runs"><span class="dim">{describe_statement(blocker)}</span> {statement}</p>'
        if blocker.advice:
            yield f'<p class="advice"><span class="dim">next time:</span> {sentence_markup(blocker.advice)}</p>'
        yield '<div class="tree">'
        yield from write_branches(tree.below, tree.rest, _render_waiter)
        yield "</div></article>"
    if len(trees) > _MOST_TREES:
        yield f'<p class="dim">and {format_count(len(trees) - _MOST_TREES, "root blocker")} more</p>'


def _render_waiter(wait: Wait, facts: BlockerReport | None) -> str:
    cause = "" if facts is None or facts.classification == "unknown" else f" ({facts.classification})"
    queued = ", queued behind" if wait.queued else ""
    statement = f"<br>{code_markup(wait.blocked_statement)}" if wait.blocked_statement else ""
    return (
        f'<span class="pid">{wait.blocked_pid}</span>{cause} had waited {format_wait(wait, "an unknown time")} for '
        f"{sentence_markup(format_awaited(wait))}{queued} · "
        f"{client_markup(wait.blocked_user, None, wait.blocked_application)}{statement}"
    )
