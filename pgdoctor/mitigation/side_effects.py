"""Remains of an action: searched once its outcome is known, and reported as findings."""

from collections.abc import Iterator, Sequence

from pgdoctor.formatting import format_count
from pgdoctor.mitigation.candidate import Candidate
from pgdoctor.mitigation.history import Action
from pgdoctor.model.diagnosis import Diagnosis, Finding
from pgdoctor.model.identity import Identity

#: Blockers that are compared with the victim, the widest reach first.
_MOST_COMPARED = 50

#: The kinds of findings, which are the values of a metric's label.
KINDS = ("invalid_index", "aborted_holder", "recurrence")


def find_side_effects(action: Action, after: Diagnosis, invalid_indexes: Sequence[str]) -> tuple[Finding, ...]:
    """What is wrong after an action that was sent; nothing where none was.

    `invalid_indexes`: those of the action's relation, read after it. Earlier remains count as well: the index
    of a command that builds concurrently is invalid from its beginning, and left so when it is broken off.
    """
    if action.outcome is None or not action.may_have_been_sent:
        return ()
    return (
        *_find_invalid_indexes(action, invalid_indexes),
        *_find_aborted(action, after),
        *_find_returned(action, after),
    )


def _find_invalid_indexes(action: Action, indexes: Sequence[str]) -> Iterator[Finding]:
    for index in indexes:
        yield Finding(
            "invalid_index",
            "warning",
            f"index {index} of {action.relation} is invalid after the {action.signal} of {action.victim.pid}",
            "drop it, or rebuild it with REINDEX INDEX CONCURRENTLY: IF NOT EXISTS would accept the invalid index",
        )


def _find_aborted(action: Action, after: Diagnosis) -> Iterator[Finding]:
    for blocker in after.blockers:
        session = blocker.session
        if session is None or session.state != "idle in transaction (aborted)":
            continue
        if action.victim.same_session(Identity.of(session)):
            yield Finding(
                "aborted_holder",
                "warning",
                f"{session.pid} was cancelled, is idle in its aborted transaction, and still blocks "
                f"{format_count(blocker.blocked_sessions, 'session')}",
                "it was inside a savepoint: only a ROLLBACK of its client, or a terminate, releases its earlier locks",
            )


def _find_returned(action: Action, after: Diagnosis) -> Iterator[Finding]:
    for blocker in after.blockers[:_MOST_COMPARED]:
        candidate = Candidate(blocker, after)
        if (
            candidate.victim is not None
            and candidate.fingerprint == action.fingerprint
            and not action.victim.same_transaction(candidate.victim)
        ):
            yield Finding(
                "recurrence",
                "warning",
                f"{blocker.pid} blocks in the same way as {action.victim.pid} did: {action.fingerprint}",
                "the application retries it: find out why before the next signal",
            )
