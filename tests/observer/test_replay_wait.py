"""Since when replay has waited: never a moment before the truth."""

from datetime import UTC, datetime, timedelta

from msgspec.structs import replace

from pgdoctor.model.replay import Replay
from pgdoctor.model.snapshot import Connections, ServerInfo, Snapshot
from pgdoctor.observer.replay_wait import follow_replay, with_replay_wait

NOW = datetime(2026, 11, 30, tzinfo=UTC)
SERVER = ServerInfo(180000, True, 100, 1, Connections())
WAITING = Replay(1, "IPC", "RecoveryConflictSnapshot", "0/10", 0, None, True, 30.0, 30.0, False)


def follow(*replays):
    """By snapshot, one second apart: since how many seconds replay is known to wait."""
    wait, known = None, []
    for second, replay in enumerate(replays):
        snapshot = Snapshot(NOW + timedelta(seconds=second), SERVER, replay=replay)
        wait = follow_replay(wait, snapshot)
        judged = with_replay_wait(snapshot, wait).replay
        known.append(judged and snapshot.seconds_since(judged.since))
    return known


def test_first_snapshot_tells_nothing():
    assert follow(WAITING) == [None]


def test_wait_is_as_old_as_the_first_snapshot_in_a_row_that_shows_it():
    assert follow(WAITING, WAITING, WAITING) == [None, 1.0, 2.0]


def test_wait_begins_again_where_something_was_replayed_in_between():
    assert follow(WAITING, replace(WAITING, lsn="0/18"), replace(WAITING, lsn="0/18")) == [None, None, 1.0]


def test_wait_begins_again_for_another_conflict_or_after_none():
    pinned = replace(WAITING, wait_event_type="BufferPin", wait_event="BufferPin")
    assert follow(WAITING, pinned, WAITING) == [None, None, None]
    assert follow(WAITING, None, WAITING) == [None, None, None]


def test_lock_of_the_server_says_more():
    locked = replace(WAITING, wait_event_type="Lock", wait_event="relation", lock_since=NOW - timedelta(seconds=9))
    assert follow(locked, locked) == [9.0, 10.0]
