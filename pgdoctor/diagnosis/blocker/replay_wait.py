"""What replay on a standby waits for, in sentences: for the finding, and for the sessions that wait behind it.

Source: `GetStandbyLimitTime` and `ResolveRecoveryConflictWithVirtualXIDs` in standby.c: the delay counts from the
receipt of the WAL, which was before the wait began. So it ends at the latest one delay after the wait began.
"""

from collections.abc import Iterator

from pgdoctor.formatting import format_client, format_count, format_duration, format_name, format_size
from pgdoctor.model.replay import Replay, ReplayHolder
from pgdoctor.model.snapshot import Snapshot

#: Sessions that are named, and characters of a statement.
_MOST_NAMED = 5
_STATEMENT_WIDTH = 120

#: What it waits for, by conflict.
_AWAITED = {
    "snapshot": "the end of snapshots that may still read rows which the primary has removed",
    "buffer_pin": "a buffer that a session has pinned",
    "tablespace": "transactions that may use a dropped tablespace",
}


def describe_replay_wait(replay: Replay, snapshot: Snapshot) -> str:
    """`has waited 12 s for AccessExclusiveLock on public.orders`."""
    seconds = snapshot.seconds_since(replay.since)
    exactly = "" if replay.lock_since is not None and replay.lock_since == replay.since else "at least "
    has_waited = "waits" if seconds is None else f"has waited {exactly}{format_duration(seconds)}"
    return f"{has_waited} for {_describe_awaited(replay)}"


def name_holders(replay: Replay) -> str:
    """Who holds it up, as certain as that is: `session 4711 of "report" (app) holds AccessShareLock on it`."""
    if not replay.holders:
        return "the session has just ended, or cannot be seen"
    names = [describe_holder(each) for each in replay.holders]
    match replay.conflict:
        case "lock":
            verb = "holds" if len(names) == 1 else "hold"
            return f"{_format_list(names)} {verb} {replay.holders[0].mode} on it"
        case "snapshot" if len(_list_databases(replay)) == 1:
            return f"{names[0]} has the oldest snapshot"
        case "snapshot":
            oldest = _format_list([describe_holder(each) for each in _oldest_by_database(replay)])
            return f"the oldest snapshots of each database: {oldest}"
        case "buffer_pin":
            return f"candidates, for pins are not shown: {_format_list(names)}"
    return _format_list(names)


def list_culprits(replay: Replay) -> tuple[ReplayHolder, ...]:
    """The sessions of which it is certain that replay waits for them; none where they are candidates only."""
    match replay.conflict:
        case "lock" | "tablespace":
            return replay.holders
        case "snapshot" if len(_list_databases(replay)) == 1:
            return replay.holders[:1]
    return ()


def describe_holder(holder: ReplayHolder) -> str:
    """`session 4711 of "report" (app)`."""
    return f"session {holder.pid} of {format_client(holder.application, holder.user)}"


def describe_cancel(replay: Replay, snapshot: Snapshot) -> str:
    """What the server will do about the session, and when."""
    setting = replay.delay_setting
    if replay.delay is None:
        return f"the server never cancels it ({setting} = -1)"
    verb = "terminates" if any(each.is_idle for each in list_culprits(replay)[:1]) else "cancels"
    left = replay.delay - (snapshot.seconds_since(replay.since) or 0.0)
    when = f"in {format_duration(left)} at the latest" if left > 0 else "at any moment"
    return f"the server {verb} it {when} ({setting} = {format_duration(replay.delay)})"


def advise_on_replay(replay: Replay, snapshot: Snapshot) -> str:
    """What a person may do; pgdoctor itself signals no session on a standby."""
    culprits = list_culprits(replay)
    if not replay.holders:
        return f"wait: {describe_cancel(replay, snapshot)}"
    if not culprits:
        return f"end the transaction that holds it up, or wait: {describe_cancel(replay, snapshot)}"
    whose = ", ".join(str(each.pid) for each in culprits[:_MOST_NAMED])
    return f"end the transaction of {whose}, or wait: {describe_cancel(replay, snapshot)}"


def list_evidence(replay: Replay, snapshot: Snapshot) -> Iterator[str]:
    """Each session that may hold replay up, and how far behind replay is."""
    for each in replay.holders[:_MOST_NAMED]:
        yield _describe_in_full(each, replay, snapshot)
    if (rest := replay.holders_total - _MOST_NAMED) > 0:
        yield f"and {format_count(rest, 'session')} more"
    yield f"wait event of the startup process: {replay.wait_event_type}:{replay.wait_event}"
    if replay.unreplayed is not None:
        yield f"received and not replayed: {format_size(replay.unreplayed)} of WAL"
    if replay.last_commit is not None:
        age = format_duration(snapshot.seconds_since(replay.last_commit))
        yield f"the last replayed transaction was committed {age} ago, by the primary's clock"
    yield _describe_feedback(replay)


def _describe_awaited(replay: Replay) -> str:
    if replay.conflict == "lock":
        return f"AccessExclusiveLock on {_describe_relation(replay)}"
    return _AWAITED[replay.conflict or "snapshot"]


def _describe_relation(replay: Replay) -> str:
    if replay.relation_name is not None:
        return replay.relation_name
    if replay.relation is None:
        return "a relation"
    databases = {each.database for each in replay.holders}
    [where] = databases if len(databases) == 1 else [None]
    return f"relation {replay.relation} of database {format_name(where or str(replay.database))}"


def _list_databases(replay: Replay) -> frozenset[str | None]:
    return frozenset(each.database for each in replay.holders)


def _oldest_by_database(replay: Replay) -> tuple[ReplayHolder, ...]:
    found: dict[str | None, ReplayHolder] = {}
    for each in replay.holders:
        found.setdefault(each.database, each)
    return tuple(found.values())


def _format_list(names: list[str]) -> str:
    named, rest = names[:_MOST_NAMED], len(names) - _MOST_NAMED
    return " and ".join([*named, *([f"{rest} more"] if rest > 0 else [])])


def _describe_in_full(holder: ReplayHolder, replay: Replay, snapshot: Snapshot) -> str:
    where = f" in {format_name(holder.database)}" if holder.database else ""
    origin = format_client(holder.application, holder.user, holder.address)
    facts = [
        f"session {holder.pid}{where}",
        origin,
        holder.state or "in an unknown state",
        f"transaction open for {format_duration(snapshot.seconds_since(holder.since))}",
    ]
    if holder.mode is not None:
        facts.append(f"holds {holder.mode}")
    if replay.conflict == "snapshot" and holder.xids is not None:
        facts.append(f"its snapshot is {format_count(holder.xids, 'transaction')} old")
    text = (holder.statement or "")[:_STATEMENT_WIDTH]
    return ", ".join(facts) + (f": {text}" if text else "")


def _describe_feedback(replay: Replay) -> str:
    if replay.hot_standby_feedback:
        return "hot_standby_feedback = on: the primary keeps rows for queries here; locks and pins still conflict"
    if replay.conflict == "snapshot":
        return (
            "hot_standby_feedback = off: with on, the primary keeps the rows that queries here read, and bloats for it"
        )
    return "hot_standby_feedback = off: it would not prevent this conflict"
