"""The diagnosis as the object of the documented interface: what JSON, table, tree, Markdown and page share.

Statements are redacted here, and only `show_literals` keeps them as they are.
"""

from datetime import datetime
from functools import lru_cache
from itertools import islice

import msgspec
from msgspec.structs import replace

from pgdoctor.diagnosis.blocker.lock_names import describe_wait, is_of_waiter_alone
from pgdoctor.diagnosis.cuts import Cut, CutSet, LeaveAlone
from pgdoctor.diagnosis.manual_signal import write_signal_sql
from pgdoctor.diagnosis.recommendation import Advice, recommend
from pgdoctor.escape import encode_json
from pgdoctor.model.diagnosis import Blocker, Diagnosis, Finding
from pgdoctor.model.snapshot import Connections, PreparedTransaction, Relation, ServerInfo, Session, Snapshot
from pgdoctor.model.wait_graph import Node
from pgdoctor.model.waits import Pair, Waits
from pgdoctor.sqltext.redact import redact

_CACHED_LENGTH = 4_096

#: Pairs that are written out; a convoy of N sessions on one row has N²/2 of them.
MOST_WAITS = 10_000


class ServerFacts(msgspec.Struct, frozen=True):
    """The server, in a report."""

    version_num: int
    in_recovery: bool
    max_connections: int
    connections: int
    connections_by_state: Connections
    database: str | None
    #: As connected to: a host or its address, or the folder of a socket. Null where a file says nothing of it.
    host: str | None = None
    port: int | None = None
    user: str | None = None
    cluster_name: str | None = None


class Wait(msgspec.Struct, frozen=True):
    """One session that waits for another. `blocked_*` and `blocking_*` are the documented query's names."""

    blocked_pid: int
    blocked_user: str | None
    blocked_statement: str | None
    blocked_application: str | None
    blocking_pid: int | None
    blocking_user: str | None
    blocking_statement: str | None
    lock_type: str | None
    lock_mode: str | None
    relation: str | None
    wait_seconds: float | None
    #: The blocker does not hold the lock; it waits for it ahead in the queue.
    queued: bool
    #: Where the lock changes hands: its statement has been blocked for `wait_seconds` at least. None: it is exact.
    wait_seconds_at_most: float | None = None
    #: The prepared transaction that holds the lock, where there is no blocking PID.
    prepared_gid: str | None = None
    #: The lock in words: `AccessShareLock on public.orders`, `a row of public.orders`. None: the locks do not say.
    waits_for: str | None = None
    #: Of the session that waits, and so of `relation`.
    database: str | None = None
    #: That is not the connected one.
    in_other_database: bool = False

    @property
    def place(self) -> str | None:
        """The relation, with its database where that is not the connected one: `billing: public.orders`."""
        return _format_place(self.relation, self.database if self.in_other_database else None)


class RecommendationFacts(msgspec.Struct, frozen=True):
    """What to do about a blocker; `action` is cancel, terminate or none."""

    action: str
    pid: int | None
    reason: str
    #: The signal, bound to the observed session; for a role with the right. None: there is none.
    sql: str | None = None
    #: Why the server refuses our role the signal, and what to do instead; None where it would not.
    not_permitted: str | None = None


class BlockerReport(msgspec.Struct, frozen=True, rename={"classification": "class"}):
    """A blocking session, in a report."""

    pid: int | None
    classification: str
    also: tuple[str, ...]
    root: bool
    relation: str | None
    directly_blocked: int
    blocked_sessions: int
    statement: str | None
    user: str | None
    database: str | None
    application: str | None
    client: str | None
    state: str | None
    transaction_seconds: float | None
    evidence: tuple[str, ...]
    recommendation: RecommendationFacts
    in_cycle: bool = False
    prepared_gid: str | None = None
    #: What would have held up fewer people, for the next time.
    advice: str | None = None
    #: The migration tool behind it, where that shows.
    maker: str | None = None
    #: Our role may signal it; None: not known.
    may_signal: bool | None = None
    #: As `pg_stat_activity` has them; None: it computes, or they are hidden.
    wait_event_type: str | None = None
    wait_event: str | None = None
    #: Since when one of those that wait for it has been blocked, ISO 8601: with certainty, and at the earliest. None:
    #: not known.
    blocked_since: str | None = None
    blocked_since_earliest: str | None = None
    #: `database`, and so that of `relation`, is not the connected one.
    in_other_database: bool = False

    @property
    def place(self) -> str | None:
        """The relation, with its database where that is not the connected one: `billing: public.orders`."""
        return _format_place(self.relation, self.database if self.in_other_database else None)


class Report(msgspec.Struct, frozen=True):
    """The object of `diagnose --format json`."""

    schema_version: int
    #: The server's clock, ISO 8601 with microseconds and offset.
    captured_at: str
    server: ServerFacts
    waits: tuple[Wait, ...]
    blockers: tuple[BlockerReport, ...]
    waits_total: int
    blocked_sessions: int
    cuts: tuple[Cut, ...]
    cycles: tuple[tuple[Node, ...], ...]
    findings: tuple[Finding, ...]
    #: The one thing to do; None where no session is blocked.
    recommendation: Advice | None = None
    cut_sets: tuple[CutSet, ...] = ()
    left_alone: tuple[LeaveAlone, ...] = ()


def make_report(diagnosis: Diagnosis, *, show_literals: bool = False, most_waits: int | None = MOST_WAITS) -> Report:
    """The report of a diagnosis, with at most `most_waits` waits (None: all)."""
    waits = Waits(diagnosis.snapshot, diagnosis.graph)
    moving, found = diagnosis.find_moving(), recommend(diagnosis)
    return Report(
        schema_version=1,
        captured_at=diagnosis.captured_at.isoformat(timespec="microseconds"),
        server=server_facts(diagnosis.snapshot.server),
        waits=tuple(map(_WaitWriter(waits, moving, show_literals).write, islice(waits, most_waits))),
        blockers=tuple(_make_blocker(blocker, diagnosis.snapshot, show_literals) for blocker in diagnosis.blockers),
        waits_total=diagnosis.graph.wait_count,
        blocked_sessions=diagnosis.blocked_sessions,
        cuts=found.cuts,
        cycles=diagnosis.graph.cycles,
        findings=diagnosis.findings,
        recommendation=found.advice,
        cut_sets=found.sets,
        left_alone=found.spared,
    )


def server_facts(server: ServerInfo) -> ServerFacts:
    """The server as a report has it."""
    return ServerFacts(
        version_num=server.version_num,
        in_recovery=server.in_recovery,
        max_connections=server.max_connections,
        connections=server.connections,
        connections_by_state=server.connections_by_state,
        database=server.database,
        host=server.host,
        port=server.port,
        user=server.user,
        cluster_name=server.cluster_name,
    )


def without_sql(report: Report) -> Report:
    """The report of a moment that is over: without SQL to paste."""
    advice = report.recommendation
    blockers = (
        replace(each, recommendation=replace(each.recommendation, sql=None)) if each.recommendation.sql else each
        for each in report.blockers
    )
    return replace(
        report,
        blockers=tuple(blockers),
        recommendation=replace(advice, sql=()) if advice is not None else None,
        cuts=tuple(replace(each, sql=None) for each in report.cuts),
        cut_sets=tuple(replace(each, sql=()) for each in report.cut_sets),
        left_alone=tuple(replace(each, sql=None) for each in report.left_alone),
    )


def to_json(report: Report) -> bytes:
    """The report as one JSON object."""
    return encode_json(report)


def show_statement(statement: str | None, show_literals: bool) -> str | None:
    """A statement as it may be shown; None where it is hidden from us, or there is none."""
    if not statement:
        return None
    if show_literals:
        return statement
    return _redacted(statement) if len(statement) <= _CACHED_LENGTH else redact(statement)


# A thousand waiters often run one statement, and a convoy's is listed twenty thousand times.
_redacted = lru_cache(maxsize=2_048)(redact)


class _WaitWriter:
    """Writes out waits: what is said of a waiter, and of a blocker, once for all waits that it is part of."""

    def __init__(self, waits: Waits, moving: frozenset[Node], show_literals: bool) -> None:
        self._waits = waits
        self._snapshot = waits.snapshot
        self._moving = moving
        self._show_literals = show_literals
        self._statements: dict[Node, str | None] = {}
        #: By PID, where the wait says as much of each blocker.
        self._written: dict[Node, Wait] = {}

    def write(self, pair: Pair) -> Wait:
        """A wait as the report has it."""
        blocker = self._snapshot.sessions.get(pair.node)
        prepared = self._waits.prepared.get(pair.node)
        known = self._written.get(pair.waiter.pid)
        if known is None:
            return self._write_all(pair, blocker, prepared)
        return replace(
            known,
            blocking_pid=pair.node if prepared is None else None,
            blocking_user=prepared.owner if prepared else getattr(blocker, "usename", None),
            blocking_statement=self._show_statement(blocker),
            queued=pair.queued,
            prepared_gid=prepared.gid if prepared else None,
        )

    def _write_all(self, pair: Pair, blocker: Session | None, prepared: PreparedTransaction | None) -> Wait:
        """A wait, of which the waiter and its lock are remembered."""
        waiter, request = pair.waiter, pair.request
        table = self._waits.find_table(pair)
        blocked = self._snapshot.blocked_bounds[waiter.pid]
        found = Wait(
            blocked_pid=waiter.pid,
            blocked_user=waiter.usename,
            blocked_statement=self._show_statement(waiter),
            blocked_application=waiter.application_name,
            blocking_pid=pair.node if prepared is None else None,
            blocking_user=prepared.owner if prepared else getattr(blocker, "usename", None),
            blocking_statement=self._show_statement(blocker),
            lock_type=request.locktype if request else None,
            lock_mode=request.mode if request else None,
            relation=table.name if table else None,
            wait_seconds=blocked.least,
            wait_seconds_at_most=blocked.most if waiter.pid in self._moving else None,
            queued=pair.queued,
            prepared_gid=prepared.gid if prepared else None,
            waits_for=self._describe_awaited(pair, table, blocker),
            database=waiter.datname,
            in_other_database=_is_elsewhere(waiter.datname, self._snapshot),
        )
        if request is not None and len(waiter.requests) == 1 and is_of_waiter_alone(waiter, request):
            self._written[waiter.pid] = found
        return found

    def _describe_awaited(self, pair: Pair, table: Relation | None, blocker: Session | None) -> str | None:
        if pair.request is None:
            return None
        text = (blocker.statement if blocker else None) or ""
        return describe_wait(self._snapshot, pair.waiter, pair.request, table, text)

    def _show_statement(self, session: Session | None) -> str | None:
        if session is None:
            return None
        if session.pid not in self._statements:
            self._statements[session.pid] = show_statement(session.statement, self._show_literals)
        return self._statements[session.pid]


def _format_moment(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat(timespec="microseconds")


def _format_place(relation: str | None, other_database: str | None) -> str | None:
    return f"{other_database}: {relation}" if relation is not None and other_database is not None else relation


def _is_elsewhere(database: str | None, snapshot: Snapshot) -> bool:
    return database is not None and snapshot.server.database not in (None, database)


def _make_blocker(blocker: Blocker, snapshot: Snapshot, show_literals: bool) -> BlockerReport:
    session = blocker.session or Session(pid=0)
    prepared = next((each for each in snapshot.prepared if each.node == blocker.node), None)
    database = prepared.datname if prepared else session.datname
    return BlockerReport(
        pid=blocker.pid,
        classification=blocker.classification,
        also=blocker.also,
        root=blocker.root,
        relation=blocker.relation,
        directly_blocked=blocker.directly_blocked,
        blocked_sessions=blocker.blocked_sessions,
        statement=show_statement(session.statement, show_literals),
        user=session.usename,
        database=database,
        application=session.application_name,
        client=session.client_addr,
        state=session.state,
        transaction_seconds=blocker.transaction_seconds,
        evidence=blocker.evidence,
        recommendation=_make_recommendation(blocker),
        in_cycle=blocker.in_cycle,
        prepared_gid=blocker.gid,
        advice=blocker.advice or None,
        maker=blocker.maker,
        may_signal=session.may_signal,
        wait_event_type=session.wait_event_type,
        wait_event=session.wait_event,
        blocked_since=_format_moment(blocker.blocked_since),
        blocked_since_earliest=_format_moment(blocker.blocked_since_earliest),
        in_other_database=_is_elsewhere(database, snapshot),
    )


def _make_recommendation(blocker: Blocker) -> RecommendationFacts:
    remedy = blocker.recommendation
    # To be copied and run: not where it may free no session.
    is_offered = blocker.session is not None and not blocker.may_free_nobody
    text = write_signal_sql(remedy.action, blocker.session) if blocker.session and is_offered else None
    return RecommendationFacts(remedy.action, blocker.pid, remedy.reason, text, blocker.not_permitted)
