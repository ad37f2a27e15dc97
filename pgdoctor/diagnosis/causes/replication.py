"""A process of replication or recovery: a WAL sender, an apply worker, or the startup process of a standby.

Recognised by: its `backend_type`.
Do: look at the replication. The startup process of a standby may wait itself for a session: end that session's
transaction, or wait until `max_standby_streaming_delay` is over. If it does not wait, it holds its locks for a
transaction of the primary: commit or end that one there.
Do not: signal it. A cancel of an apply worker with `disable_on_error` disables its subscription permanently. A cancel
of a WAL sender disconnects its standby.
Source: PostgreSQL documentation, "Hot Standby" and "Logical Replication"; measured on 15 to 18.
"""

from collections.abc import Iterator

from pgdoctor.diagnosis.blocker import command_status, held_locks, replay_wait
from pgdoctor.diagnosis.blocker.blocker_facts import BlockerFacts
from pgdoctor.diagnosis.cause import Cause
from pgdoctor.formatting import format_duration, format_size
from pgdoctor.model.remedy import Classification, Remedy

_BACKEND_TYPES = frozenset(
    {
        "walsender",
        "walreceiver",
        "startup",
        "logical replication launcher",
        "logical replication worker",
        "logical replication apply worker",
        "logical replication parallel worker",
        "logical replication tablesync worker",
        "slotsync worker",
    }
)


class Replication(Cause):
    name = "replication"
    precedence = 130
    why_untouchable = "signalling replication does more harm than the wait"

    def classify_blocker(self, facts: BlockerFacts) -> Classification | None:
        if facts.session is None or facts.session.backend_type not in _BACKEND_TYPES:
            return None
        if facts.session.backend_type == "startup":
            return _judge_startup(facts)
        return Classification(
            evidence=(
                f"it is a {facts.session.backend_type} process, "
                f"its transaction open for {format_duration(facts.transaction_seconds)}",
                *held_locks.describe_contested_locks(facts),
                *command_status.describe_command_wait(facts),
            ),
            remedy=Remedy("none", "signalling replication does more harm than the wait"),
        )


def _judge_startup(facts: BlockerFacts) -> Classification:
    replay = facts.snapshot.replay
    if replay is None or replay.conflict is None:
        reason = "it holds what the primary has locked: end that transaction there"
    else:
        reason = f"no signal is sent on a standby: {replay_wait.advise_on_replay(replay, facts.snapshot)}"
    return Classification(tuple(_describe_startup(facts)), Remedy("none", reason))


def _describe_startup(facts: BlockerFacts) -> Iterator[str]:
    """What the startup process holds, what it waits for itself, and where its locks come from."""
    replay = facts.snapshot.replay
    yield "it is the startup process, which replays what the primary has done"
    names = list(dict.fromkeys(map(facts.name_lock, facts.blocking_locks)))
    if names:
        yield f"holds {', '.join(names[:3])}, as a transaction of the primary does"
    if replay is None:
        return
    if replay.conflict is not None:
        yield f"waits itself: {replay_wait.describe_replay_wait(replay, facts.snapshot)}"
        yield f"held up by: {replay_wait.name_holders(replay)}"
        yield replay_wait.describe_cancel(replay, facts.snapshot)
    elif replay.is_paused:
        yield "replay is paused: pg_wal_replay_resume() continues it"
    elif replay.unreplayed == 0:
        yield "all received WAL is replayed: that transaction is still open on the primary, or its end has not arrived"
    elif replay.unreplayed is not None:
        yield f"received and not replayed: {format_size(replay.unreplayed)} of WAL"
