"""Since when replay on a standby has waited for one thing: nothing was replayed from one snapshot to the next."""

from datetime import datetime
from typing import NamedTuple

from msgspec.structs import replace

from pgdoctor.model.replay import Replay
from pgdoctor.model.snapshot import Snapshot


class ReplayWait(NamedTuple):
    """A wait of the startup process: what it is for, where replay stands, and the first snapshot that shows it."""

    conflict: str
    lsn: str
    first_seen: datetime


def follow_replay(before: ReplayWait | None, snapshot: Snapshot) -> ReplayWait | None:
    """The wait that a snapshot shows, with the first snapshot of it; None where replay waits for no session."""
    replay = snapshot.replay
    if replay is None or replay.conflict is None or replay.lsn is None:
        return None
    found = ReplayWait(replay.conflict, replay.lsn, snapshot.captured_at)
    return before if before is not None and before[:2] == found[:2] else found


def with_replay_wait(snapshot: Snapshot, wait: ReplayWait | None) -> Snapshot:
    """The snapshot with the first one that shows its wait; the first itself tells nothing."""
    if wait is None or snapshot.replay is None or wait.first_seen == snapshot.captured_at:
        return snapshot
    known: Replay = replace(snapshot.replay, seen_since=wait.first_seen)
    return replace(snapshot, replay=known)


def is_new_replay_wait(snapshot: Snapshot) -> bool:
    """Replay waits for a session, and neither its lock nor an earlier snapshot says since when."""
    return snapshot.replay is not None and snapshot.replay.conflict is not None and snapshot.replay.since is None
