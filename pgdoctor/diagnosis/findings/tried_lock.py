"""A session asked for a lock without waiting, and did not get it: no wait shows that.

Recognised by: a latest statement of the last five minutes that calls `pg_try_advisory_lock()` or a function like it,
and a session that has held an advisory lock with that key since before. Where the text does not show the key, the
sessions that hold advisory locks while they are idle outside of a transaction. Also: a latest statement that reads
`databasechangeloglock`, for Liquibase asks again every ten seconds until a row there says that it is free; and one with
NOWAIT that failed.
Do: ask whether the holder still needs the lock. A migration tool that lost its connection to a pool leaves its lock to
an idle session; `pg_advisory_unlock()` in that session, or its end, gives the lock back. Liquibase's lock is a value in
a row and no lock of the server: a container that was killed leaves it. The row says who took it (`lockedby`,
`lockgranted`). If that one no longer runs: `liquibase release-locks`.
Do not: terminate an elected leader, which keeps its lock on purpose.
Prevent: take the lock by `pg_try_advisory_xact_lock()`; run migrations over a connection without a pooler.
Source: PostgreSQL documentation, "Advisory Lock Functions"; https://github.com/ClosureTree/with_advisory_lock/issues/84.
"""

from collections.abc import Iterator
from datetime import timedelta

from pgdoctor.diagnosis.blocker.lock_names import format_advisory_key
from pgdoctor.diagnosis.blocker.migration_tools import detect_lock_owner, detect_row_lock
from pgdoctor.diagnosis.finding import CheckInput, FindingCheck
from pgdoctor.formatting import format_client, format_duration, format_name
from pgdoctor.model.diagnosis import Finding
from pgdoctor.model.server_context import AdvisoryHolder, LatestStatement, TriedLock
from pgdoctor.model.snapshot import Snapshot
from pgdoctor.sqltext.lexer import scan_tokens
from pgdoctor.sqltext.statement import read_statement

#: A try that is older says little about now.
_RECENT = timedelta(minutes=5)

#: Liquibase asks every ten seconds. After a shorter pause it may have got the lock, and be about to take it.
_PAUSE = timedelta(seconds=1)
_ASKED_AGAIN = timedelta(seconds=30)


class TriedLocks(FindingCheck):
    name = "tried_lock"

    def find_findings(self, seen: CheckInput) -> Iterator[Finding]:
        around = seen.snapshot.surroundings
        for tried in around.tried_locks if around else ():
            holders = _find_certain_holders(tried)
            if holders and seen.snapshot.captured_at - tried.trier.began <= _RECENT:
                yield _build_finding(self.name, tried, holders, seen.snapshot)
        for latest in around.latest if around else ():
            yield from _build_refused(self.name, latest, seen.snapshot)


def _find_certain_holders(tried: TriedLock) -> list[AdvisoryHolder]:
    """Those that have done the same since before the try: they had the lock by then."""
    return [each for each in tried.holders if each.since is not None and each.since <= tried.trier.began]


def _build_finding(kind: str, tried: TriedLock, holders: list[AdvisoryHolder], snapshot: Snapshot) -> Finding:
    trier, first = tried.trier, holders[0]
    asked = f"session {trier.pid} of {format_client(trier.application, trier.user)} asked for"
    holder = _describe_holder(first, snapshot)
    if tried.key is None:
        summary = f"{asked} an advisory lock without waiting, by a key that its text does not show; {holder} holds one"
    else:
        owner = detect_lock_owner(tried.key, trier.database or "")
        of = f" (the key of {owner})" if owner else ""
        summary = f"{asked} the advisory lock {format_advisory_key(tried.key)}{of} without waiting; {holder} holds it"
    return Finding(
        kind,
        "info",
        summary,
        f"if {first.pid} should not hold it: only pg_advisory_unlock() in that session, or its end, gives it back. "
        f"All its locks: pgdoctor holders {first.pid}",
        {"holders": len(holders)},
        tuple(_describe_hold(each, snapshot) for each in holders) if tried.key is None or len(holders) > 1 else (),
    )


def _build_refused(kind: str, latest: LatestStatement, snapshot: Snapshot) -> Iterator[Finding]:
    """A session that waits by asking again, or was refused at once: its latest statement alone shows it."""
    age = snapshot.captured_at - latest.began
    text = read_statement(latest.statement)
    table = text.targets[0] if text.targets else ""
    asker = f"session {latest.pid} of {format_client(latest.application, latest.user)}"
    if text.kind == "select" and detect_row_lock(table) and _PAUSE <= age <= _ASKED_AGAIN:
        yield Finding(
            kind,
            "info",
            f"{asker} asks {format_name(table)} again and again: a row there says that another instance migrates",
            "its columns lockedby and lockgranted say which one: if that one no longer runs, liquibase release-locks; "
            "no lock of the server is involved",
            {"holders": 0},
        )
    elif latest.is_troubled and table and age <= _RECENT and _has_nowait(latest.statement):
        yield Finding(
            kind,
            "info",
            f"{asker} asked for rows of {format_name(table)} with NOWAIT, and was refused",
            "pgdoctor holders, with the name of the table, lists the sessions that hold locks there",
            {"holders": 0},
        )


def _has_nowait(text: str) -> bool:
    return any(token.is_word("nowait") for token in scan_tokens(text))


def _describe_holder(holder: AdvisoryHolder, snapshot: Snapshot) -> str:
    state = "running a statement" if holder.state == "active" else holder.state
    waited = format_duration(snapshot.seconds_since(holder.since))
    return f"session {holder.pid} of {format_client(holder.application, holder.user)}, {state} for {waited},"


def _describe_hold(holder: AdvisoryHolder, snapshot: Snapshot) -> str:
    return f"{_describe_holder(holder, snapshot)} holds the advisory lock {format_advisory_key(holder.key)}"
