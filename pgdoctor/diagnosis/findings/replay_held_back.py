"""A session on a standby holds up the replay of WAL, or replay is paused.

Recognised by: the startup process has waited for a second or more, and nothing was replayed in that time. Its wait is
for a lock, for old snapshots (`RecoveryConflictSnapshot`), for a buffer pin, or for a dropped tablespace
(`RecoveryConflictTablespace`). Sessions that read what the primary has locked then wait for the startup process.
Do: end the transaction of the named session, or wait. `max_standby_streaming_delay` (`max_standby_archive_delay`
without a WAL receiver) says when the server cancels it; with -1 it never does. For a buffer pin the sessions are
candidates: the server shows nowhere who has pinned a buffer. Continue a paused replay by `pg_wal_replay_resume()`.
Do not: signal the startup process, or look for its blocker in `pg_blocking_pids()`, which gives none for it.
Prevent: `hot_standby_feedback` prevents conflicts with old snapshots, at the price of bloat on the primary. Short
transactions on the standby, or one standby for reports and another one for failover.
Source: PostgreSQL documentation, "Hot Standby", "Handling Query Conflicts"; measured on 14 and 18.
"""

from collections.abc import Iterator

from pgdoctor.diagnosis.blocker import replay_wait
from pgdoctor.diagnosis.finding import CheckInput, FindingCheck
from pgdoctor.formatting import format_count, format_size
from pgdoctor.model.diagnosis import Finding
from pgdoctor.model.replay import Replay

#: Conflicts end within milliseconds where queries are short.
_LONG_SECONDS = 1.0


class ReplayHeldBack(FindingCheck):
    name = "replay_held_back"

    def find_findings(self, seen: CheckInput) -> Iterator[Finding]:
        replay, snapshot = seen.snapshot.replay, seen.snapshot
        if replay is not None and (snapshot.seconds_since(replay.since) or 0.0) >= _LONG_SECONDS:
            yield self._report_conflict(replay, seen)
        around = snapshot.surroundings
        if snapshot.server.in_recovery and around and around.standing and around.standing.replay_paused:
            yield self._report_pause(around.standing.unreplayed, seen)

    def _report_conflict(self, replay: Replay, seen: CheckInput) -> Finding:
        snapshot = seen.snapshot
        waiting = seen.graph.count_blocked(replay.pid)
        behind = f"; {format_count(waiting, 'session')} blocked behind it" if waiting else ""
        numbers = {
            "seconds": snapshot.seconds_since(replay.since) or 0.0,
            "sessions": float(replay.holders_total),
            "blocked_sessions": float(waiting),
        }
        if replay.unreplayed is not None:
            numbers["unreplayed_bytes"] = float(replay.unreplayed)
        if replay.delay is not None:
            numbers["delay_seconds"] = replay.delay
        return Finding(
            self.name,
            "warning",
            f"replay on this standby {replay_wait.describe_replay_wait(replay, snapshot)}: "
            f"{replay_wait.name_holders(replay)}{behind}",
            replay_wait.advise_on_replay(replay, snapshot),
            numbers,
            tuple(replay_wait.list_evidence(replay, snapshot)),
        )

    def _report_pause(self, unreplayed: int | None, seen: CheckInput) -> Finding:
        replay = seen.snapshot.replay
        waiting = seen.graph.count_blocked(replay.pid) if replay else 0
        size = f", with {format_size(unreplayed)} of WAL received and not replayed" if unreplayed is not None else ""
        return Finding(
            self.name,
            "warning" if waiting else "info",
            f"replay on this standby is paused{size}",
            "continue it by pg_wal_replay_resume(); the server also pauses if a setting such as max_connections is "
            "lower than on the primary",
            {"unreplayed_bytes": float(unreplayed or 0), "blocked_sessions": float(waiting)},
        )
