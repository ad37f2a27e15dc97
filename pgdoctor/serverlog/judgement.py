"""The worst moment of an incident as a snapshot, judged by the causes that judge a live one.

A log shows less than the server does: which sessions wait for what, and who holds it, but rarely what the holders did.
Facts that are not in the log are left out of the snapshot, and so is a class that would need them.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta

import msgspec
from msgspec.structs import replace

from pgdoctor.diagnosis.diagnose import diagnose
from pgdoctor.formatting import format_count, format_duration
from pgdoctor.model.diagnosis import Blocker, Diagnosis
from pgdoctor.model.lock_modes import MODES, mode_strength, modes_conflict
from pgdoctor.model.remedy import Remedy
from pgdoctor.model.snapshot import Connections, Lock, PreparedTransaction, Relation, ServerInfo, Session, Snapshot
from pgdoctor.serverlog.events import LockWait, Origin
from pgdoctor.serverlog.incident_assembler import LoggedTurns, LogIncident, WorstMoment
from pgdoctor.serverlog.lock_tags import parse_lock, parse_relation_oid
from pgdoctor.serverlog.logged_holder import LoggedHolder, judge_holder
from pgdoctor.serverlog.messages import RECOVERY_CONFLICT
from pgdoctor.sqltext import ddl, statement
from pgdoctor.sqltext.redact import redact

#: The node of a prepared transaction, which the log calls process 0.
_PREPARED = -1

#: Classes that follow from the text of a command.
BY_TEXT = frozenset({"migration", "explicit_lock", "maintenance"})
_FAMILIES = frozenset({"ddl", "lock", "maintenance"})
_WRITES = frozenset({"insert", "update", "delete", "merge"})

#: Holders that a statement has waited through from which on a row changes hands, and times the longest of these turns
#: for which one may have held it; as in a live diagnosis.
_SEVERAL = 2
_TIMES = 2

#: Relations of which only the name is known get numbers that no OID has.
_NO_OID = 1 << 32

#: Statements that are read for the name of one relation.
_MOST_READ = 20

_OVER = Remedy("none", "it is over")
_NOT_LOGGED = "the log does not show what it did: log_min_duration_statement = 0 would"


class JudgedIncident(msgspec.Struct, frozen=True):
    """An incident with the diagnosis of its worst moment; None: it has none."""

    incident: LogIncident
    diagnosis: Diagnosis | None
    #: What blockers did, by PID.
    holders: Mapping[int, LoggedHolder] = {}

    @property
    def leading(self) -> Blocker | None:
        """The root with the widest reach; of a circle, which has no root, its first member."""
        return self.diagnosis.blockers[0] if self.diagnosis is not None and self.diagnosis.blockers else None

    @property
    def classification(self) -> str:
        """The class of the root with the widest reach."""
        return self.leading.classification if self.leading is not None else "unknown"

    @property
    def relation(self) -> str | None:
        """The table that it is about, as far as the statements show."""
        if self.leading is not None and self.leading.relation:
            return self.leading.relation
        worst = self.incident.worst
        names = {each.origin.relation for each in worst.waits if each.origin.relation} if worst is not None else set()
        return names.pop() if len(names) == 1 else None


def judge_incident(incident: LogIncident) -> JudgedIncident:
    """The incident with what the causes say of its worst moment."""
    if incident.worst is None:
        return JudgedIncident(incident, None)
    moment = _Moment(incident, incident.worst)
    found = diagnose(moment.build_snapshot())
    blockers = tuple(_drop_unproven_class(each, moment) for each in found.blockers)
    return JudgedIncident(incident, replace(found, blockers=blockers, findings=()), moment.facts)


class _Moment:
    """A moment of the log on its way to a snapshot."""

    def __init__(self, incident: LogIncident, worst: WorstMoment) -> None:
        self.at = worst.at
        self.waits = {each.origin.pid: each for each in worst.waits}
        self.since = dict(zip((each.origin.pid for each in worst.waits), worst.since, strict=True))
        self.turns = dict(zip(self.waits, worst.turns, strict=False))
        self.only_queued = {pid: wait for pid, wait in worst.only_queued if pid not in self.waits}
        in_transaction = self._find_transactions()
        self.facts = {
            pid: judge_holder(notes, worst.at, needs_transaction=pid in in_transaction)
            for pid, notes in incident.sessions.items()
        }
        self.names = _name_waits(self.waits.values())
        self._oids = {name: oid for oid, name in self.names.items()}
        self.edges = {pid: self._find_blockers(wait) for pid, wait in self.waits.items()}
        self.edges |= {pid: self._queued_edges(pid, wait) for pid, wait in self.only_queued.items()}

    def build_snapshot(self) -> Snapshot:
        """The moment as far as the log shows it."""
        held = self._held()
        sessions = {pid: self._build_waiter(pid, wait, held.get(pid, ())) for pid, wait in self.waits.items()}
        for pid, wait in self.only_queued.items():
            sessions[pid] = Session(pid, self.edges[pid], held.get(pid, ()), datname=wait.origin.database)
        for pid in {node for nodes in self.edges.values() for node in nodes} - sessions.keys() - {_PREPARED}:
            sessions[pid] = self._build_holder(pid, held.get(pid, ()))
        prepared: tuple[PreparedTransaction, ...] = ()
        if any(_PREPARED in nodes for nodes in self.edges.values()):
            prepared = (PreparedTransaction(_PREPARED, gid="?", locks=held.get(_PREPARED, ())),)
        return Snapshot(
            captured_at=self.at,
            server=ServerInfo(0, False, 0, 0, Connections()),
            sessions=sessions,
            prepared=prepared,
            relations={oid: Relation(oid, name, "r", False, -1, -1) for oid, name in self.names.items()},
        )

    def _find_transactions(self) -> set[int]:
        """Holders of locks that end with a transaction: all but advisory locks."""
        waits = (wait for wait in self.waits.values() if not wait.target.startswith("advisory"))
        return {pid for wait in waits for pid in wait.holders}

    def find_turns(self, node: int) -> LoggedTurns | None:
        """What its waiters had waited through, where the row changes hands and it has held it for no longer."""
        waiters = [pid for pid, nodes in self.edges.items() if node in nodes and pid in self.waits]
        if not waiters or any(not self.waits[pid].target.startswith(("transaction", "tuple")) for pid in waiters):
            return None
        most = max((self.turns.get(pid, LoggedTurns()) for pid in waiters), key=lambda each: each.number)
        began = [since for pid in waiters if (since := self.since[pid]) is not None]
        waited = (self.at - min(began, default=self.at)) / timedelta(seconds=1)
        return most if most.number >= _SEVERAL and waited <= _TIMES * most.longest else None

    def describe_lock(self, target: str) -> str:
        """A lock as the log has it, with the name of its table where statements tell it."""
        oid = parse_relation_oid(target)
        name = self.names.get(oid) if oid is not None else None
        return f"{target} ({name})" if name is not None and name != f"relation {oid}" else target

    def _build_waiter(self, pid: int, wait: LockWait, held: tuple[Lock, ...]) -> Session:
        origin = wait.origin
        request = replace(parse_lock(pid, wait.mode, wait.target, granted=False), waitstart=self.since[pid])
        locks = [request, *held]
        if origin.relation and request.locktype == "transactionid":
            # It names the table: the first waiter for a row has it, and the context says that it is one.
            row = parse_lock(pid, "ExclusiveLock", "tuple (0,0) of relation 0 of database 0", granted=True)
            locks.append(replace(row, relation=self._assign_oid(origin.relation)))
        return Session(
            pid,
            self.edges[pid],
            tuple(locks),
            datname=origin.database,
            usename=origin.user,
            application_name=origin.application,
            client_addr=origin.client,
            backend_type=origin.backend_type or "client backend",
            state="active",
            statement=origin.inner or origin.statement,
        )

    def _build_holder(self, pid: int, held: tuple[Lock, ...]) -> Session:
        facts = self.facts.get(pid, LoggedHolder())
        is_known = bool(facts.transaction or facts.state or facts.backend_type)
        return Session(
            pid,
            locks=held,
            datname=facts.database,
            usename=facts.user,
            application_name=facts.application,
            client_addr=facts.client,
            backend_type=(facts.backend_type or "client backend") if is_known or facts.application else None,
            state=facts.state,
            # All of the transaction: any of its statements may have taken the lock.
            statement="; ".join(facts.transaction) or facts.statement,
            xact_start=facts.xact_start,
            query_start=facts.statement_start,
            state_change=facts.state_change,
        )

    def _assign_oid(self, name: str) -> int:
        oid = self._oids.setdefault(name, _NO_OID + len(self._oids))
        self.names.setdefault(oid, name)
        return oid

    def _find_blockers(self, wait: LockWait) -> tuple[int, ...]:
        """For whom a session waits: holders whose lock conflicts, and sessions ahead whose request does."""
        holders = [_PREPARED if pid == 0 else pid for pid in wait.holders if pid != wait.origin.pid]
        ahead = list(self._find_sessions_ahead(wait))
        if parse_relation_oid(wait.target) is None or wait.target.startswith("tuple"):
            return (*holders, *ahead)
        # The server lists all that hold the lock in any mode. Only a conflicting mode blocks.
        modes = {pid: self._known_mode(pid) for pid in holders}
        certain = [pid for pid in holders if (mode := modes[pid]) is not None and modes_conflict(mode, wait.mode)]
        possible = [pid for pid in holders if modes[pid] is None]
        if wait.mode == MODES[-1]:
            return (*holders, *ahead)
        if ahead:
            return (*certain, *ahead)
        return tuple(certain or possible or holders)

    def _queued_edges(self, pid: int, wait: LockWait) -> tuple[int, ...]:
        """What such a session asks for is not known: it waits behind what nothing passes, or else for the holder."""
        strongest = MODES[-1]
        ahead = wait.queue[: wait.queue.index(pid)] if pid in wait.queue else ()
        for other in ahead:
            asked = self.waits.get(other)
            if asked is not None and asked.target == wait.target and asked.mode == strongest:
                return (other,)
        return tuple(_PREPARED if each == 0 else each for each in wait.holders if each != pid)

    def _find_sessions_ahead(self, wait: LockWait) -> Iterator[int]:
        """Sessions before it in the queue whose requests conflict with its own."""
        pid = wait.origin.pid
        for other in wait.queue[: wait.queue.index(pid)] if pid in wait.queue else ():
            asked = self.waits.get(other)
            if asked is not None and asked.target == wait.target and modes_conflict(asked.mode, wait.mode):
                yield other

    def _known_mode(self, pid: int) -> str | None:
        """The strongest mode in which the statements of a holder lock a table; None: they are not known."""
        if pid in self.waits:
            origin = self.waits[pid].origin
            texts: tuple[str, ...] = (origin.inner or origin.statement or "",)
        else:
            texts = self.facts.get(pid, LoggedHolder()).transaction
        modes = [mode for text in texts for mode in _modes_of(text)]
        return max(modes, key=mode_strength, default=None)

    def _held(self) -> dict[int, tuple[Lock, ...]]:
        """The locks of each blocker: in the mode that its statements take, or else the weakest that conflicts."""
        wanted: dict[tuple[int, str], list[str]] = {}
        for pid, wait in self.waits.items():
            for node in self.edges[pid]:
                other = self.waits.get(node)
                if other is None or other.target != wait.target:
                    wanted.setdefault((node, wait.target), []).append(wait.mode)
        found: dict[int, tuple[Lock, ...]] = {}
        for (node, target), modes in wanted.items():
            owner = None if node == _PREPARED else node
            lock = parse_lock(owner, self._held_mode(node, target, modes), target, granted=True)
            found[node] = (*found.get(node, ()), lock)
        return found

    def _held_mode(self, node: int, target: str, wanted: Sequence[str]) -> str:
        if not target.startswith("relation"):
            return "ExclusiveLock"
        known = self._known_mode(node)
        if known is not None and any(modes_conflict(known, mode) for mode in wanted):
            return known
        fitting = (mode for mode in MODES if all(modes_conflict(mode, other) for other in wanted))
        return next(fitting, MODES[-1])


def _modes_of(text: str) -> Iterator[str]:
    """The modes in which a text locks tables."""
    for part in ddl.split_parts(text):
        if part.family in _FAMILIES:
            if part.effect.mode is not None:
                yield part.effect.mode
            continue
        kind = statement.read_statement(text)
        if kind.kind in _WRITES:
            yield "RowExclusiveLock"
        elif kind.kind == "select_for_update":
            yield "RowShareLock"
        elif kind.kind == "select" and "(" not in text:
            yield "AccessShareLock"


def _name_waits(waits: Iterable[LockWait]) -> dict[int, str]:
    """Names by OID of the relations that sessions wait for."""
    pairs = ((parse_relation_oid(wait.target), wait.origin.inner or wait.origin.statement) for wait in waits)
    return name_relations((oid, text) for oid, text in pairs if oid is not None)


def name_relations(waits: Iterable[tuple[int, str | None]]) -> dict[int, str]:
    """Names by OID: the one that all statements that wait for a relation name."""
    found: dict[int, set[str]] = {}
    read: dict[int, set[str]] = {}
    for oid, text in waits:
        found.setdefault(oid, set())
        seen = read.setdefault(oid, set())
        if text is None or text in seen or len(seen) >= _MOST_READ:
            continue
        seen.add(text)
        targets = set(statement.read_statement(text).targets)
        if targets:
            found[oid] = found[oid] & targets or (targets if not found[oid] else found[oid])
    return {oid: names.copy().pop() if len(names) == 1 else f"relation {oid}" for oid, names in found.items()}


def _drop_unproven_class(blocker: Blocker, moment: _Moment) -> Blocker:
    """What the log shows of a blocker; a class that only follows from what it does not show becomes unknown."""
    is_waiting = blocker.node in moment.waits or blocker.node in moment.only_queued
    facts = moment.facts.get(blocker.node, LoggedHolder())
    name = blocker.classification
    if name in BY_TEXT and not has_text_of(blocker.session):
        name = "unknown"
    if blocker.node in moment.only_queued:
        name = "unknown"
    passed = None if is_waiting else moment.find_turns(blocker.node)
    if passed is not None:
        name = "hot_row"
    session = blocker.session
    if session is not None and not is_waiting:
        session = replace(session, statement=facts.statement)
    is_known = name != "unknown"
    return replace(
        blocker,
        classification=name,
        also=blocker.also if is_known else (),
        session=session,
        evidence=(*_describe_turns(passed), *_describe_evidence(blocker, moment, facts)),
        recommendation=_OVER,
        advice=blocker.advice if is_known else "",
        not_permitted=None,
        uncertain_waiters=frozenset(),
        may_hold_too=(),
        release_uncertain=None,
    )


def _describe_turns(turns: LoggedTurns | None) -> Iterator[str]:
    if turns is not None:
        yield (
            f"a row that changes hands: a statement had waited through {format_count(turns.number, 'holder')} before, "
            f"each for {format_duration(turns.longest)} at most"
        )


def has_text_of(session: Session | None) -> bool:
    """Its text has a statement of one of these classes."""
    return any(part.family in _FAMILIES for part in ddl.split_parts((session.statement if session else None) or ""))


def _describe_evidence(blocker: Blocker, moment: _Moment, facts: LoggedHolder) -> Iterator[str]:
    if blocker.node == _PREPARED:
        yield "the log names process 0 as the holder: a prepared transaction, which has no session"
        return
    if blocker.node in moment.waits:
        yield from _own_wait(moment.waits[blocker.node], moment)
        return
    if blocker.node in moment.only_queued:
        yield "it waits in the queue itself; the log does not show for which mode"
        return
    yield from _describe_hold(blocker, moment)
    yield from _describe_activity(facts, moment.at)


def _own_wait(wait: LockWait, moment: _Moment) -> Iterator[str]:
    since = moment.since[wait.origin.pid]
    waited = f"had waited {format_duration((moment.at - since) / timedelta(seconds=1))}" if since else "waited"
    yield f"it {waited} itself for {wait.mode or 'a lock'} on {moment.describe_lock(wait.target)}"
    if wait.in_deadlock:
        yield "the server found a deadlock, and ended its statement"
    yield from describe_inner(wait.origin)


def describe_inner(origin: Origin) -> Iterator[str]:
    """The statement inside of a function, which no view of the server shows."""
    if origin.inner:
        where = f"{origin.function}()" if origin.function else "a function"
        yield f"inside of {where} it ran: {redact(origin.inner)}"


def _describe_hold(blocker: Blocker, moment: _Moment) -> Iterator[str]:
    targets: dict[str, int] = {}
    is_strongest = False
    for pid, wait in moment.waits.items():
        if blocker.node in moment.edges[pid]:
            targets[wait.target] = targets.get(wait.target, 0) + 1
            is_strongest |= wait.target.startswith("relation") and wait.mode == MODES[0]
    for target, number in list(targets.items())[:3]:
        if target.startswith(RECOVERY_CONFLICT):
            yield f"replay on this standby waited for it: {target}"
            continue
        yield f"the log names it as a holder of {moment.describe_lock(target)}, to {format_count(number, 'session')}"
    if is_strongest:
        yield f"it held {MODES[-1]}: nothing else keeps {MODES[0]} waiting"


def _describe_activity(facts: LoggedHolder, at: datetime) -> Iterator[str]:
    if facts.state is not None:
        since = facts.state_change
        lasted = f" for {format_duration((at - since) / timedelta(seconds=1))}" if since else ""
        yield f"{'its statement had run' if facts.state == 'active' else facts.state}{lasted} then: {facts.reason}"
    elif facts.reason:
        yield facts.reason
    else:
        yield _NOT_LOGGED
    if facts.xact_start is not None:
        yield f"its transaction had been open for {format_duration((at - facts.xact_start) / timedelta(seconds=1))}"
