"""One moment of a server, as rows of its views that were saved then, judged as a live snapshot is."""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from msgspec.structs import replace

from pgdoctor.diagnosis.diagnose import diagnose
from pgdoctor.model.diagnosis import Blocker, Diagnosis
from pgdoctor.model.lock_modes import modes_conflict
from pgdoctor.model.remedy import Remedy
from pgdoctor.model.snapshot import (
    Connections,
    Lock,
    PreparedTransaction,
    Relation,
    ServerInfo,
    Session,
    Snapshot,
    Target,
)
from pgdoctor.serverlog.incident_assembler import LoggedWaitingGroup, LogIncident, Outcome, WorstMoment
from pgdoctor.serverlog.judgement import BY_TEXT, JudgedIncident, has_text_of, name_relations
from pgdoctor.serverlog.saved_tables import Row, Table

_TIMES = ("now", "captured_at", "waitstart", "state_change", "query_start", "xact_start", "backend_start")
_NO_OID = 1 << 32
_OVER = Remedy("none", "it is over")
_NO_TIME = datetime(1970, 1, 1, tzinfo=UTC)

#: Evidence that says something wrong where a column is missing: how it begins, and the columns.
_NEEDS = (
    ("it has changed nothing", {"backend_xid"}),
    ("it has a transaction id", {"backend_xid"}),
    ("its client", {"application_name", "client_addr"}),
)


def judge_rows(tables: Sequence[Table]) -> JudgedIncident | None:
    """The incident of rows that belong together; None where they show no wait."""
    moment = _SavedRows(tables)
    snapshot = moment.build_snapshot()
    found = diagnose(snapshot)
    if not found.graph.waiters:
        return None
    blockers = tuple(_drop_unproven_parts(each, moment.columns) for each in found.blockers)
    return JudgedIncident(_build_incident(snapshot, found), replace(found, blockers=blockers, findings=()))


def add_rows(
    outcome: Outcome, judged: Sequence[JudgedIncident], tables: Sequence[Table]
) -> tuple[Outcome, list[JudgedIncident]]:
    """What came of a log, and the incident of rows; they need not be of the same time."""
    found = judge_rows(tables)
    if found is None:
        return outcome, list(judged)
    more = found.incident
    outcome = replace(
        outcome,
        incidents=(*outcome.incidents, more),
        incidents_total=outcome.incidents_total + 1,
        waits_total=outcome.waits_total + more.waits,
        session_seconds=outcome.session_seconds + more.session_seconds,
    )
    return outcome, [*judged, found]


class _SavedRows:
    """Rows on their way to a snapshot."""

    def __init__(self, tables: Sequence[Table]) -> None:
        self._tables = tables
        self.columns = frozenset[str]().union(*(each.columns for each in tables))
        self._names: dict[str, int] = {}
        self._oids: set[int] = set()
        times = (_parse_time(row.get(name)) for each in tables for row in each.rows for name in _TIMES)
        self.at = max((each for each in times if each is not None), default=_NO_TIME)

    def build_snapshot(self) -> Snapshot:
        """All that the rows say."""
        locks = list(self._build_locks())
        sessions = {session.pid: session for session in self._build_sessions()}
        edges = _find_waits(locks) if locks else {}
        for pid, blockers in self._collect_pairs().items():
            edges.setdefault(pid, blockers)
        by_pid: dict[int | None, list[Lock]] = {}
        for lock in locks:
            by_pid.setdefault(lock.pid, []).append(lock)
        nodes = edges.keys() | {node for blockers in edges.values() for node in blockers}
        for pid in (node for node in nodes if node > 0):
            session = sessions.get(pid) or Session(pid)
            sessions[pid] = replace(session, blockers=tuple(edges.get(pid, ())), locks=tuple(by_pid.get(pid, ())))
        asked = (lock for lock in locks if not lock.granted and lock.relation in self._oids)
        named = name_relations(
            (lock.relation or 0, sessions[lock.pid].statement) for lock in asked if lock.pid in sessions
        )
        prepared = [PreparedTransaction(-1, gid="?", locks=tuple(by_pid.get(None, ())))] if -1 in nodes else []
        return Snapshot(
            captured_at=self.at,
            server=ServerInfo(0, False, 0, 0, Connections()),
            sessions={pid: session for pid, session in sessions.items() if pid in nodes},
            prepared=tuple(prepared),
            relations={
                **{oid: Relation(oid, named.get(oid, f"relation {oid}"), "r", False, -1, -1) for oid in self._oids},
                **{oid: Relation(oid, name, "r", False, -1, -1) for name, oid in self._names.items()},
            },
        )

    def _build_locks(self) -> Iterator[Lock]:
        for row in self._select_rows("locks", "both"):
            if (mode := row.get("mode")) is None:
                continue
            yield Lock(
                _parse_number(row.get("pid")),
                row.get("locktype") or "relation",
                None,
                self._parse_relation(row.get("relation") or row.get("relname")),
                _parse_number(row.get("page")),
                _parse_number(row.get("tuple")),
                row.get("virtualxid"),
                _parse_number(row.get("transactionid")),
                _parse_number(row.get("classid")),
                _parse_number(row.get("objid")),
                _parse_number(row.get("objsubid")),
                row.get("virtualtransaction"),
                mode,
                (row.get("granted") or "").casefold() in ("t", "true", "yes", "1"),
                _parse_time(row.get("waitstart")),
            )

    def _build_sessions(self) -> Iterator[Session]:
        for row in self._select_rows("activity", "both"):
            pid = _parse_number(row.get("pid"))
            if pid is None:
                continue
            is_visible = row.get("state") is not None or row.get("query") is not None
            yield Session(
                pid,
                datname=row.get("datname"),
                usename=row.get("usename"),
                application_name=row.get("application_name"),
                client_addr=row.get("client_addr"),
                backend_type=row.get("backend_type") or ("client backend" if is_visible else None),
                state=row.get("state"),
                statement=row.get("query"),
                wait_event_type=row.get("wait_event_type"),
                wait_event=row.get("wait_event"),
                backend_start=_parse_time(row.get("backend_start")),
                xact_start=_parse_time(row.get("xact_start")),
                query_start=_parse_time(row.get("query_start")),
                state_change=_parse_time(row.get("state_change")),
                has_xid=row.get("backend_xid") is not None,
            )
        for row in self._select_rows("pairs"):
            for side in ("blocked", "blocking"):
                pid = _parse_number(row.get(f"{side}_pid"))
                if pid is not None:
                    yield Session(
                        pid,
                        usename=row.get(f"{side}_user"),
                        application_name=row.get(f"{side}_application"),
                        backend_type="client backend" if side == "blocked" else None,
                        state="active" if side == "blocked" else None,
                        statement=row.get(f"{side}_statement"),
                    )

    def _collect_pairs(self) -> Mapping[int, tuple[int, ...]]:
        """Of the documented query; it pairs those that wait for the same lock with each other, too."""
        pairs = {
            (blocked, blocking)
            for row in self._select_rows("pairs")
            if (blocked := _parse_number(row.get("blocked_pid"))) is not None
            and (blocking := _parse_number(row.get("blocking_pid"))) is not None
        }
        waits: dict[int, list[int]] = {}
        for blocked, blocking in sorted(pairs):
            if (blocking, blocked) not in pairs:
                waits.setdefault(blocked, []).append(blocking)
        for blocked, blocking in sorted(pairs):
            if blocked not in waits:
                waits.setdefault(blocked, []).append(blocking)
                break
        return {pid: tuple(blockers) for pid, blockers in waits.items()}

    def _select_rows(self, *kinds: str) -> Iterator[Row]:
        return (row for each in self._tables if each.kind in kinds for row in each.rows)

    def _parse_relation(self, text: str | None) -> int | None:
        """An OID; one that is made up for a name (`relation::regclass`)."""
        if text is None:
            return None
        number = _parse_number(text)
        if number is not None:
            self._oids.add(number)
            return number
        return self._names.setdefault(text, _NO_OID + len(self._names))


def _find_waits(locks: Sequence[Lock]) -> dict[int, tuple[int, ...]]:
    """Who waits for whom: for holders whose mode conflicts, and for those that wait before them and conflict."""
    by_target: dict[Target, list[Lock]] = {}
    for lock in locks:
        by_target.setdefault(lock.target, []).append(lock)
    found: dict[int, tuple[int, ...]] = {}
    for lock in locks:
        if lock.granted or lock.pid is None:
            continue
        others = [each for each in by_target[lock.target] if each.pid != lock.pid]
        hard = [_graph_node(each) for each in others if each.granted and modes_conflict(each.mode, lock.mode)]
        ahead = [each for each in others if not each.granted and modes_conflict(each.mode, lock.mode)]
        soft = [_graph_node(each) for each in ahead if _is_before(each, lock, is_blocked=bool(hard))]
        found[lock.pid] = tuple(dict.fromkeys((*found.get(lock.pid, ()), *hard, *soft)))
    return found


def _is_before(other: Lock, lock: Lock, *, is_blocked: bool) -> bool:
    """The other one waits before; without times that is certain only of one that no holder keeps waiting."""
    if other.waitstart is not None and lock.waitstart is not None:
        return (other.waitstart, other.pid or 0) < (lock.waitstart, lock.pid or 0)
    return not is_blocked


def _graph_node(lock: Lock) -> int:
    return -1 if lock.pid is None else lock.pid


def _drop_unproven_parts(blocker: Blocker, columns: frozenset[str]) -> Blocker:
    """Without what follows from columns that are missing, and without what to do now."""
    name = blocker.classification
    if name in BY_TEXT and "backend_xid" not in columns and not has_text_of(blocker.session):
        name = "unknown"
    evidence = (
        sentence
        for sentence in blocker.evidence
        if not any(sentence.startswith(begin) and not needed <= columns for begin, needed in _NEEDS)
    )
    return replace(
        blocker,
        classification=name,
        evidence=tuple(evidence),
        recommendation=_OVER,
        not_permitted=None,
        release_uncertain=None,
        may_hold_too=(),
        uncertain_waiters=frozenset(),
    )


def _build_incident(snapshot: Snapshot, found: Diagnosis) -> LogIncident:
    waiters = [snapshot.sessions[pid] for pid in found.graph.waiters]
    seconds = {session.pid: snapshot.blocked_bounds[session.pid].least or 0.0 for session in waiters}
    groups: dict[tuple[str | None, str | None, str | None], LoggedWaitingGroup] = {}
    for session in waiters:
        about = (session.application_name, session.usename, session.statement)
        group = groups.setdefault(about, LoggedWaitingGroup(*about, None, None))
        group.count += 1
        group.seconds += seconds[session.pid]
        group.longest = max(group.longest, seconds[session.pid])
    at, longest = snapshot.captured_at, max(seconds.values())
    return LogIncident(
        started=at - timedelta(seconds=longest),
        ended=at,
        waits=len(waiters),
        peak=len(waiters),
        longest=longest,
        session_seconds=sum(seconds.values()),
        worst=WorstMoment(at, (), ()),
        groups=tuple(sorted(groups.values(), key=lambda each: -each.seconds)),
        outcomes={},
        deadlocks=(),
        deadlocks_total=0,
        sessions={},
        unseen_ends=len(waiters),
        still_waiting=len(waiters),
    )


def _parse_number(text: str | None) -> int | None:
    return int(text) if text is not None and re.fullmatch(r"-?[0-9]{1,19}", text) else None


def _parse_time(text: str | None) -> datetime | None:
    try:
        at = datetime.fromisoformat(text) if text else None
    except ValueError:
        return None
    if at is None:
        return None
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)
