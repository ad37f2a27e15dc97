"""The sessions of a diagnosis as rows: waiters and blockers, in the chosen order."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal

import msgspec
from msgspec.structs import replace

from pgdoctor.model.diagnosis import Diagnosis
from pgdoctor.model.snapshot import Session
from pgdoctor.render.groups import Crowd, group_branches
from pgdoctor.render.report import BlockerReport, Report, Wait
from pgdoctor.render.tree import format_awaited, left_out
from pgdoctor.render.wait_trees import Branch, Name, OmittedRows, build_trees, name_blocker

Order = Literal["tree", "wait", "blocked", "age", "class"]

#: Steps of the tree; deeper sessions show in the other orders.
_MOST_STEPS = 30


class SessionRow(msgspec.Struct, frozen=True):
    """A session, or a line that sums up others (`key` None)."""

    key: Name
    #: How many stand before it in its tree.
    depth: int = 0
    pid: int | None = None
    blocked: int = 0
    #: Seconds; None: it does not wait, or since when is not known.
    wait: float | None = None
    #: Seconds that its transaction is open.
    age: float | None = None
    classification: str = ""
    #: What it waits for, or holds.
    what: str = ""
    who: str = ""
    statement: str = ""
    waits: bool = False
    #: Of a line that sums up.
    rest: str = ""
    #: Sessions that it stands for.
    sessions: int = 1

    @property
    def words(self) -> tuple[str, ...]:
        """Every text that a filter finds the row by."""
        return str(self.key or ""), self.classification, self.what, self.who, self.statement, self.rest


def list_rows(diagnosis: Diagnosis, report: Report, order: Order, *, is_grouped: bool = True) -> tuple[SessionRow, ...]:
    """All rows, in that order: in the tree below whom they wait for, else the largest first.

    `is_grouped`: in the tree equal waiters are one row, as in `pgdoctor diagnose`.
    """
    made = _Rows(diagnosis, report, is_grouped)
    if order == "tree":
        return tuple(made.list_tree())
    return tuple(sorted(made.list_all(), key=_KEYS[order]))


_KEYS: Mapping[str, Callable[[SessionRow], tuple[object, ...]]] = {
    "wait": lambda row: (-(row.wait or 0.0), -row.blocked, str(row.key)),
    "blocked": lambda row: (-row.blocked, -(row.wait or 0.0), str(row.key)),
    "age": lambda row: (-(row.age or 0.0), -row.blocked, str(row.key)),
    "class": lambda row: (row.waits and not row.blocked, row.classification, -row.blocked, str(row.key)),
}


class _Rows:
    def __init__(self, diagnosis: Diagnosis, report: Report, is_grouped: bool) -> None:
        self._is_grouped = is_grouped
        self._diagnosis = diagnosis
        self._report = report
        self._blockers = {name_blocker(blocker): blocker for blocker in report.blockers}
        self._waits: dict[Name, Wait] = {}
        for wait in report.waits:
            self._waits.setdefault(wait.blocked_pid, wait)

    def list_tree(self) -> Iterator[SessionRow]:
        most = len(self._report.waits)
        for tree in build_trees(self._report, most, _MOST_STEPS):
            yield self._make_row(name_blocker(tree.blocker), 0)
            yield from self._rows_below(tree.below, tree.rest, 1)

    def list_all(self) -> Iterator[SessionRow]:
        for key in {**self._blockers, **self._waits}:
            yield self._make_row(key, 0)

    def _rows_below(self, below: Sequence[Branch], rest: OmittedRows, depth: int) -> Iterator[SessionRow]:
        for part in group_branches(below) if self._is_grouped else below:
            if isinstance(part, Crowd):
                yield self._build_crowd_row(part, depth)
                continue
            yield self._make_row(part.wait.blocked_pid, depth)
            yield from self._rows_below(part.below, part.rest, depth + 1)
        if rest.sessions:
            yield SessionRow(None, depth, rest=left_out(rest))

    def _build_crowd_row(self, crowd: Crowd, depth: int) -> SessionRow:
        """One row for equal waiters, with the longest of their waits."""
        longest = max(crowd.waits, key=lambda wait: wait.wait_seconds or 0.0)
        row = self._make_row(longest.blocked_pid, depth)
        return replace(row, key=None, pid=None, blocked=0, age=None, sessions=len(crowd.waits))

    def _make_row(self, key: Name, depth: int) -> SessionRow:
        blocker, wait = self._blockers.get(key), self._waits.get(key)
        session = self._diagnosis.snapshot.sessions.get(key) if isinstance(key, int) else None
        return SessionRow(
            key=key,
            depth=depth,
            pid=key if isinstance(key, int) else None,
            blocked=blocker.blocked_sessions if blocker else 0,
            wait=wait.wait_seconds if wait else None,
            age=self._transaction_age(blocker, session),
            classification=_name_class(blocker, wait),
            what=_describe_relation(blocker, wait),
            who=_describe_user(blocker, wait),
            statement=(blocker.statement if blocker else wait.blocked_statement if wait else None) or "",
            waits=wait is not None,
        )

    def _transaction_age(self, blocker: BlockerReport | None, session: Session | None) -> float | None:
        if blocker is not None and blocker.transaction_seconds is not None:
            return blocker.transaction_seconds
        return self._diagnosis.snapshot.seconds_since(session.xact_start) if session else None


def _name_class(blocker: BlockerReport | None, wait: Wait | None) -> str:
    if blocker is None or (wait is not None and blocker.classification == "unknown"):
        return "queued" if wait is not None and wait.queued else "waits"
    return blocker.classification


def _describe_relation(blocker: BlockerReport | None, wait: Wait | None) -> str:
    if wait is not None:
        return f"for {format_awaited(wait)}"
    return f"on {blocker.place}" if blocker and blocker.place else ""


def _describe_user(blocker: BlockerReport | None, wait: Wait | None) -> str:
    if blocker is not None:
        user, application = blocker.user, blocker.application
    else:
        user, application = (wait.blocked_user, wait.blocked_application) if wait else (None, None)
    return f'{user or "?"} "{application}"' if application else user or "?"
