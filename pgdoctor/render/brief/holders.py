"""Who holds or awaits a lock, in brief: one entry a session, with its locks counted by mode."""

from collections.abc import Sequence

import msgspec

from pgdoctor.render.brief.text import NOTICE, ClientText, client_text, keep_first, round_seconds
from pgdoctor.render.holders import HolderFacts, HolderReport, LockFacts

#: Modes of one session, and sessions that it waits for.
_MOST_MODES = 5
_MOST_BLOCKERS = 5


class BriefLock(msgspec.Struct, frozen=True, omit_defaults=True):
    """The locks of a session in one mode; seconds are bounds, for nothing says when a lock was granted."""

    mode: str
    granted: bool
    objects: int
    held_seconds_at_least: float | None = None
    held_seconds_at_most: float | None = None
    wait_seconds: float | None = None


class BriefHolder(msgspec.Struct, frozen=True, omit_defaults=True):
    """A session or prepared transaction. Without `locks` it is named only because others wait for it."""

    pid: int | None
    locks: tuple[BriefLock, ...]
    blocked_by: tuple[int, ...] = ()
    state: str | None = None
    transaction_seconds: float | None = None
    client_text: ClientText = ClientText()


class BriefHolders(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer of the tool `holders`."""

    notice: str
    captured_at: str
    #: What was asked about: a relation, an advisory key or a session.
    kind: str
    locks_total: int
    sessions_total: int
    sessions: tuple[BriefHolder, ...]
    sessions_left_out: int = 0
    client_text: ClientText = ClientText()


def make_brief_holders(report: HolderReport, most: int) -> BriefHolders:
    """The report with at most so many sessions: those that wait last."""
    found = sorted(
        (_make_holder(each, report.locks) for each in report.sessions),
        key=lambda each: (not each.locks, not any(lock.granted for lock in each.locks)),
    )
    sessions, left = keep_first(found, most)
    return BriefHolders(
        notice=NOTICE,
        captured_at=report.captured_at,
        kind=report.target.kind,
        locks_total=report.locks_total,
        sessions_total=len(report.sessions),
        sessions=sessions,
        sessions_left_out=left,
        client_text=client_text(relation=report.target.name, sentences=report.unread[:_MOST_MODES]),
    )


def _make_holder(session: HolderFacts, locks: Sequence[LockFacts]) -> BriefHolder:
    groups: dict[tuple[str, bool], list[LockFacts]] = {}
    for lock in locks:
        if (lock.pid, lock.prepared_gid) == (session.pid, session.prepared_gid):
            groups.setdefault((lock.mode, lock.granted), []).append(lock)
    return BriefHolder(
        pid=session.pid,
        locks=tuple(map(_make_lock, list(groups.values())[:_MOST_MODES])),
        blocked_by=session.blocked_by[:_MOST_BLOCKERS],
        state=session.state,
        transaction_seconds=round_seconds(session.transaction_seconds),
        client_text=client_text(
            user=session.user,
            database=session.database,
            application=session.application,
            statement=session.statement,
            prepared_gid=session.prepared_gid,
        ),
    )


def _make_lock(locks: list[LockFacts]) -> BriefLock:
    first = locks[0]
    return BriefLock(
        first.mode,
        first.granted,
        len(locks),
        round_seconds(first.held_seconds_at_least),
        round_seconds(first.held_seconds_at_most),
        round_seconds(first.wait_seconds),
    )
