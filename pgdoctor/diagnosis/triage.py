"""The first five minutes: blocked sessions, their start, recent changes, the layer, and what to do next.

The layer is what most active sessions wait for, unless there is stronger evidence: blocked sessions, a standby that
commits wait for, connections that are used up. It is only about the database; where nothing is wrong here, it says
so, for then it is somewhere else.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta

import msgspec

from pgdoctor.diagnosis.change_ranking import LASTING, describe_change, rank_changes
from pgdoctor.diagnosis.internal_waits import InternalWait, explain_internal_waits
from pgdoctor.diagnosis.recommendation import Advice, recommend
from pgdoctor.diagnosis.waiting_request import find_request
from pgdoctor.formatting import (
    duration_between,
    format_blockers,
    format_client,
    format_count,
    format_duration,
    format_size,
)
from pgdoctor.model.diagnosis import Blocker, Diagnosis, Finding
from pgdoctor.model.server_context import Rates, RecentChange, ServerContext, Standby
from pgdoctor.model.waits import longest_bounds, oldest_wait

#: What an active session may wait for: event type and event; CPU and None where it does not wait.
Event = tuple[str, str | None]

#: Findings, with their severities, by which a session is blocked now; the others are about the future.
_HURTING = {
    ("sync_standby_lost", "critical"),
    ("connection_saturation", "critical"),
    ("blocked_logins", "critical"),
    ("retry_storm", "warning"),
    ("connection_storm", "warning"),
}
_ABOUT_CONNECTIONS = {
    "connection_saturation": "nearly all connections are in use",
    "connection_storm": "many clients connect at the same time",
    "pool_in_transaction": "all connections of a client are idle in a transaction",
}

#: A wait for a lock that counts as blocked: as deadlock_timeout by default, after which the server itself looks what is
#: wrong.
_LONG_SECONDS = 1.0

#: Waits for what DDL and applications lock; and those for rows, which count only behind a session that blocks for long,
#: or where a row changes hands and the statements have waited for so many seconds: under any write load rows are waited
#: for.
_BROWNOUT = (("Lock", "relation"), ("Lock", "object"), ("Lock", "advisory"))
_ROWS = (("Lock", "transactionid"), ("Lock", "tuple"))
_LONG_IN_A_HOT_QUEUE = 0.5

#: Active sessions on average; below that the server has next to nothing to do.
_BUSY = 0.5
#: Per second; fewer are those of monitoring, and our own.
_MANY_TRANSACTIONS = 50.0
#: Of the active sessions, from which on they wait for one thing.
_MOST = 0.5

#: Seconds and bytes by which a standby's replay is so far behind that its readers notice.
_LAG_SECONDS = 30.0
_LAG_BYTES = 256 << 20

#: The layer by what a session waits for; by the type of its wait event where the event itself does not say. Some names
#: have another spelling since 17.
_BY_EVENT = {
    "SyncRep": "replication",
    "WALWrite": "I/O",
    "WALSync": "I/O",
    "WalSync": "I/O",
    "WALInsert": "I/O",
    # Another session reads or writes the page, and these wait for it to end.
    "BufferIO": "I/O",
    "BufferIo": "I/O",
    "CheckpointDone": "I/O",
    "CheckpointStart": "I/O",
    "SafeSnapshot": "locks",
    # For a process of the server that does not answer.
    "ProcSignalBarrier": "elsewhere",
    # Of sessions that wait for another server.
    "AppendReady": "elsewhere",
}
_BY_TYPE = {
    "CPU": "CPU",
    "LWLock": "CPU",
    "IO": "I/O",
    "Lock": "locks",
    "BufferPin": "locks",
    "IPC": "CPU",
    "Client": "elsewhere",
    "Timeout": "elsewhere",
    "Activity": "elsewhere",
    "Extension": "elsewhere",
}


#: Findings of sessions that wait, or ask again and again, without a lock that shows it.
_HIDDEN_WAITS = frozenset({"buffer_pin", "safe_snapshot", "transaction_wait", "tried_lock"})

_NO_ANSWER: Event = ("IPC", "ProcSignalBarrier")


class ActivitySample(msgspec.Struct, frozen=True):
    """How many active sessions wait for what, at one moment."""

    waits: Mapping[Event, int]


class Triage(msgspec.Struct, frozen=True):
    """The answer."""

    captured_at: datetime
    #: None: nothing was found, but our role cannot see what the others do.
    hurt: bool | None
    summary: str
    #: Since when a session has been blocked, as far as is known.
    since: datetime | None
    layer: str
    because: str
    #: Of the last quarter of an hour, the most suspicious first.
    changes: tuple[RecentChange, ...]
    #: What to do, first things first.
    next: tuple[str, ...]
    unseen: tuple[str, ...]
    advice: Advice | None
    roots: tuple[Blocker, ...]
    findings: tuple[Finding, ...]
    #: Active sessions on average, by what they wait for, the most first.
    waits: Mapping[str, float]
    started: datetime | None
    #: None where it could not be read.
    transactions_per_second: float | None
    failing: float | None
    #: Share of the blocks that were found in the server's own cache; None: none was asked for.
    cache_hits: float | None
    standbys: tuple[Standby, ...]
    #: That the server has counted; since when at the latest, None: since its statistics began.
    deadlocks: int = 0
    deadlocks_since: datetime | None = None
    #: Internal locks for which many active sessions wait, the most first.
    internal_waits: tuple[InternalWait, ...] = ()


def triage(diagnosis: Diagnosis, glimpses: Sequence[ActivitySample]) -> Triage:
    """The answer, from the last poll and what was seen within the moments before."""
    around = diagnosis.snapshot.surroundings
    waits = _average_waits(glimpses)
    brownout = _describe_brownout(diagnosis, waits)
    layer, because = _choose_layer(diagnosis, waits)
    pace = _sum_rates(around.lately.values()) if around and around.lately else None
    blocks = pace.blocks_hit + pace.blocks_read if pace else 0.0
    return Triage(
        captured_at=diagnosis.captured_at,
        hurt=True if brownout else _is_hurt(diagnosis),
        summary=brownout or _write_summary(diagnosis),
        since=_find_start(diagnosis),
        layer=layer,
        because=because,
        changes=_list_changes(diagnosis),
        next=tuple(_advise_next(diagnosis, layer, hurt=bool(brownout) or bool(_is_hurt(diagnosis)))),
        unseen=tuple(_list_unseen(diagnosis)),
        # A session that blocks others only for a moment must not be signalled.
        advice=recommend(diagnosis).advice if _find_blocked(diagnosis) else None,
        roots=tuple(_find_roots(diagnosis, 0.0 if brownout else _LONG_SECONDS)),
        findings=tuple(note for note in diagnosis.findings if note.kind != "recent_changes"),
        waits={_name_event(event): number for event, number in waits.items()},
        started=around.standing.started if around and around.standing else None,
        transactions_per_second=pace.commits + pace.rollbacks if pace else None,
        failing=pace.failing if pace else None,
        cache_hits=pace.blocks_hit / blocks if pace and blocks else None,
        standbys=around.standbys if around else (),
        deadlocks=around.deadlocks if around else 0,
        deadlocks_since=around.deadlocks_since if around else None,
        internal_waits=explain_internal_waits(waits, around),
    )


def _average_waits(glimpses: Sequence[ActivitySample]) -> dict[Event, float]:
    """Active sessions on average, by what they wait for, the most first."""
    total: dict[Event, int] = {}
    for each in glimpses:
        for event, number in each.waits.items():
            total[event] = total.get(event, 0) + number
    return {event: number / len(glimpses) for event, number in sorted(total.items(), key=lambda item: -item[1])}


def _name_event(event: Event) -> str:
    kind, name = event
    return kind if name is None else f"{kind}:{name}"


def _sum_rates(paces: Iterable[Rates]) -> Rates:
    total = [sum(each) for each in zip(*map(msgspec.structs.astuple, paces), strict=True)]
    return Rates(*total)


def _find_blocked(diagnosis: Diagnosis) -> frozenset[int]:
    """The sessions that have been blocked for longer than a healthy server lets a session wait."""
    return diagnosis.find_blocked(_LONG_SECONDS)


def _find_roots(diagnosis: Diagnosis, least_seconds: float = _LONG_SECONDS) -> Iterator[Blocker]:
    ahead = diagnosis.graph.ahead_of(diagnosis.find_blocked(least_seconds))
    return (blocker for blocker in diagnosis.blockers if blocker.root and blocker.node in ahead)


def _find_hurting(diagnosis: Diagnosis) -> list[Finding]:
    return [note for note in diagnosis.findings if (note.kind, note.severity) in _HURTING or _refuses_writes(note)]


def _refuses_writes(note: Finding) -> bool:
    return note.kind == "wraparound" and not note.numbers["left"]


def _is_hurt(diagnosis: Diagnosis) -> bool | None:
    if _find_blocked(diagnosis) or _find_hurting(diagnosis):
        return True
    return None if diagnosis.snapshot.server.hidden_sessions else False


def _describe_brownout(diagnosis: Diagnosis, waits: Mapping[Event, float]) -> str:
    """Most active sessions have waited for locks while they were observed, though none for long; empty: they have not.

    A request that gives up and is tried again makes such waits; the last snapshot may find no session blocked.
    """
    counted = (*_BROWNOUT, *_ROWS) if _is_row_contested(diagnosis) else _BROWNOUT
    busy, waiting = sum(waits.values()), sum(waits.get(event, 0.0) for event in counted)
    if _is_hurt(diagnosis) or waiting < 1.0 or waiting < _MOST * busy:
        return ""
    share, retry = _format_share(waiting, busy), _describe_retry(diagnosis)
    return f"{share} waited for locks while observed, each only briefly{retry}"


def _is_row_contested(diagnosis: Diagnosis) -> bool:
    """The waits for rows are more than those of any write load."""
    if (_bound_moving_wait(diagnosis) or 0.0) >= _LONG_IN_A_HOT_QUEUE:
        return True
    lasting = (root.session for root in _find_roots(diagnosis, 0.0) if root.session and not root.changes_hands)
    ages = (diagnosis.snapshot.seconds_since(session.xact_start) for session in lasting)
    return any((age or 0.0) >= _LONG_SECONDS for age in ages)


def _bound_moving_wait(diagnosis: Diagnosis) -> float | None:
    """Seconds for which a statement has been blocked at most that queues for a lock which changes hands."""
    sessions = diagnosis.snapshot.sessions
    return longest_bounds(diagnosis.snapshot, [sessions[pid] for pid in diagnosis.find_moving()]).most


def _describe_retry(diagnosis: Diagnosis) -> str:
    request = find_request(diagnosis)
    for change in _list_changes(diagnosis):
        if change.kind == "ddl" and change.first is not None:
            return f"; {describe_change(change, diagnosis.captured_at).partition(': ')[2]} (a retried request)"
    if request is None:
        return ""
    return f"; behind {request.statement} by {format_client(request.application, request.user)}"


def _write_summary(diagnosis: Diagnosis) -> str:
    blocked = _find_blocked(diagnosis)
    if blocked:
        sessions = diagnosis.snapshot.sessions
        least = oldest_wait(diagnosis.snapshot, (sessions[pid] for pid in blocked))
        most = _bound_moving_wait(diagnosis)
        longest = duration_between(least, most if most is not None and most > (least or 0.0) else None)
        circles = sum(not blocked.isdisjoint(circle) for circle in diagnosis.graph.cycles)
        blockers = format_blockers(len(list(_find_roots(diagnosis))), circles)
        return f"{format_count(len(blocked), 'session')} blocked by {blockers}, the longest for {longest}"
    if hurting := _find_hurting(diagnosis):
        return hurting[0].summary
    if diagnosis.snapshot.server.hidden_sessions:
        return "no blocked session is visible, but other sessions are hidden from this role"
    if worst := _list_worth_acting(diagnosis):
        return f"no session is blocked; but {worst[0].summary}"
    return "no session is blocked, and there are no other findings"


def _find_start(diagnosis: Diagnosis) -> datetime | None:
    snapshot, around = diagnosis.snapshot, diagnosis.snapshot.surroundings
    waited = oldest_wait(snapshot, (snapshot.sessions[pid] for pid in _find_blocked(diagnosis)))
    if waited is not None:
        return snapshot.captured_at - timedelta(seconds=waited)
    if around and around.standing and any(note.kind == "sync_standby_lost" for note in diagnosis.findings):
        return around.standing.oldest_sync_wait
    return None


def _choose_layer(diagnosis: Diagnosis, waits: Mapping[Event, float]) -> tuple[str, str]:
    """The layer, and why."""
    around, busy = diagnosis.snapshot.surroundings, sum(waits.values())
    found = {note.kind: note for note in diagnosis.findings}
    if blocked := _find_blocked(diagnosis):
        if _are_held_by_replay(diagnosis):
            return "replication", f"{format_count(len(blocked), 'session')} blocked by replay on this standby"
        return (
            "locks",
            f"{format_count(len(blocked), 'session')} "
            f"{'waits' if len(blocked) == 1 else 'wait'} for locks of other sessions",
        )
    if "sync_standby_lost" in found:
        return "replication", "commits wait for a synchronous standby"
    if (note := found.get("replay_held_back")) is not None and note.severity != "info":
        return "replication", "a session holds up replay on this standby (see below)"
    if any(map(_refuses_writes, diagnosis.findings)):
        return "elsewhere", "no session waits: the server refuses writes, because it is out of ids (see below)"
    by_layer = _by_layer(waits)
    leading = max(by_layer, key=by_layer.__getitem__, default="elsewhere")
    share = by_layer.get(leading, 0.0) / busy if busy else 0.0
    if waits.get(_NO_ANSWER, 0.0) >= _BUSY:
        return "elsewhere", "a process of the server does not answer (see below)"
    if "buffer_pin" in found and leading == "locks" and not diagnosis.graph.waiters:
        return "locks", "no session waits for a lock, but one for a page that another session has pinned (see below)"
    if leading == "locks" and (diagnosis.graph.waiters or _describe_brownout(diagnosis, waits)) and share >= _MOST:
        return "locks", f"{_format_share(by_layer['locks'], busy)} wait for locks, each only briefly"
    if why := [why for kind, why in _ABOUT_CONNECTIONS.items() if kind in found]:
        return "connections", why[0]
    if late := _find_late(around):
        return "replication", f"{format_count(len(late), 'standby')} far behind, by up to {_describe_furthest(late)}"
    if standing := around and around.standing:
        if standing.replay_paused:
            return "replication", "replay on this standby is paused"
        if (standing.unreplayed or 0) >= _LAG_BYTES:
            return "replication", f"this standby still has to replay {format_size(standing.unreplayed or 0)}"
    if "retry_storm" in found and (busy < _BUSY or leading == "elsewhere"):
        return "elsewhere", "clients retry failing statements: check the application that sends them"
    if busy < _BUSY:
        return "elsewhere", f"{_describe_rest(around)}: check the network, the pooler, the application"
    if leading == "elsewhere":
        return leading, f"{_format_share(by_layer[leading], busy)} wait for their client, or sleep: check the client"
    mixed = "" if share >= _MOST else " (mixed)"
    return leading, f"{_format_share(by_layer[leading], busy)} {_DOES[leading]}{mixed}; compare with the usual load"


def _are_held_by_replay(diagnosis: Diagnosis) -> bool:
    """All whom they wait for in the end are the startup process of a standby. A deadlock has no root."""
    roots = list(_find_roots(diagnosis))
    return bool(roots) and all(root.session is not None and root.session.backend_type == "startup" for root in roots)


def _describe_rest(around: ServerContext | None) -> str:
    pace = _sum_rates(around.lately.values()) if around and around.lately else Rates()
    is_used = pace.commits + pace.rollbacks >= _MANY_TRANSACTIONS
    return "the server answers requests at once" if is_used else "the server is nearly idle"


_DOES = {
    "CPU": "compute, or wait for each other inside the server",
    "I/O": "read or write files",
    "locks": "wait for locks, each only briefly",
    "replication": "wait for a standby",
}


def _format_share(part: float, whole: float) -> str:
    return f"{part:.1f} of {whole:.1f} active sessions"


def _by_layer(waits: Mapping[Event, float]) -> dict[str, float]:
    found: dict[str, float] = {}
    for (kind, event), number in waits.items():
        layer = _BY_EVENT.get(event or "", _BY_TYPE.get(kind, "CPU"))
        found[layer] = found.get(layer, 0.0) + number
    return found


def _find_late(around: ServerContext | None) -> list[Standby]:
    standbys = around.standbys if around else ()
    return [each for each in standbys if (each.lag or 0.0) >= _LAG_SECONDS or (each.behind or 0) >= _LAG_BYTES]


def _describe_furthest(late: Sequence[Standby]) -> str:
    return (
        f"{format_size(max(each.behind or 0 for each in late))}, "
        f"{format_duration(max(each.lag or 0.0 for each in late))}"
    )


def _advise_next(diagnosis: Diagnosis, layer: str, *, hurt: bool) -> Iterator[str]:
    """What is to be done, beside the cut that is advised."""
    for note in _list_worth_acting(diagnosis):
        if note.kind != "evidence":
            yield f"{note.kind}: {note.advice}"
    made = [change.what for change in _list_changes(diagnosis) if change.kind not in LASTING]
    if made and hurt:
        yield f"ask whether this can be reverted: {made[0]}"
    yield _NEXT[layer]


def _list_worth_acting(diagnosis: Diagnosis) -> list[Finding]:
    """Findings to act on, the worst first; at the end sessions that wait though no lock shows it."""
    worst = [note for note in diagnosis.findings if note.severity != "info"]
    hidden = (note for note in diagnosis.findings if note.severity == "info" and note.kind in _HIDDEN_WAITS)
    return [*worst, *hidden]


def _list_changes(diagnosis: Diagnosis) -> tuple[RecentChange, ...]:
    around = diagnosis.snapshot.surroundings
    return rank_changes(around.changes, diagnosis.blockers) if around else ()


_NEXT = {
    "locks": "pgdoctor diagnose: blockers, causes, and the sessions that each signal would free",
    "connections": "pgdoctor diagnose: connections by application; then check the pools of the applications",
    "I/O": "check the disks (iostat) and the most frequent reads and writes (pg_stat_statements, pg_stat_io)",
    "CPU": "check the machine (top) and the slowest statements (pg_stat_statements)",
    "replication": "check the standby: is it up, does it replay, is the network between them slow",
    "elsewhere": "check the application, its pooler, the network and the machine",
}


def _list_unseen(diagnosis: Diagnosis) -> Iterator[str]:
    server, around = diagnosis.snapshot.server, diagnosis.snapshot.surroundings
    if server.hidden_sessions:
        yield f"{format_count(server.hidden_sessions, 'hidden session')}: grant pg_monitor (pgdoctor setup)"
    yield from diagnosis.snapshot.unread
    yield from around.unread if around else ("the state of the whole server: it could not be read",)
    if server.in_recovery:
        yield "the primary: this is a standby"
    yield "the machine itself (CPU, memory, disks, network), poolers and their queues, earlier DDL"
