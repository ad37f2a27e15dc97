"""From events to incidents: waits that have a session or a lock in common, one after the other.

Waits that are over are only counted. Of each incident the worst moment is kept, and of all incidents those that cost
the most; so memory has a bound, whatever the log says.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import islice
from typing import Protocol

import msgspec

from pgdoctor.serverlog.events import (
    ACQUIRED,
    AUTOVACUUM_CANCELED,
    DEADLOCK,
    UNSEEN,
    Event,
    LockAcquired,
    LockWait,
    LoggedActivity,
    LoggedDeadlock,
    Origin,
    ServerStopped,
    StatementEnded,
)

#: Incidents that are kept, and waits that are followed at a time.
MOST_INCIDENTS = 200
MOST_WAITS = 20_000

#: How long after its last wait an incident goes on if one of its sessions or locks is in a wait again.
QUIET = timedelta(seconds=10)

#: Of one incident: kinds of statements, deadlocks, sessions with what they did, entries of each.
_MOST_GROUPS = 200
_MOST_DEADLOCKS = 20
_MOST_SESSIONS = 200
_MOST_NOTES = 60

#: Waits that are kept of a worst moment, how many of them with their whole statements, and characters of the others.
_MOST_KEPT = 2_000
_MOST_WHOLE = 500
_BRIEF = 500

#: Of an incident that is over: its blockers, and entries of each.
_MOST_BLOCKERS = 20
_MOST_SAID = 30

#: Locks whose queues are known at a time, the latest ones.
_MOST_REPORTS = 50

#: Locks and sessions of one incident from which on those are forgotten that wait no more.
_MOST_KEYS = 5_000

#: Locks by which a row is waited for, and how soon a statement that did not get it waits again.
_OF_A_ROW = ("transaction", "tuple")
_AT_ONCE = timedelta(milliseconds=100)

#: How often, by the times of the log, incidents are looked through for those that are over.
_CHECK_EVERY = timedelta(seconds=1)

#: How soon after the cancel of a worker of autovacuum its waiter has the lock.
_SOON = timedelta(seconds=1)

#: A session in the queue says itself that it waits, a deadlock_timeout after it began.
_SLACK = 1.2

NO_LOCK = "a lock"

#: Application, user, statement, the one inside of a function, and the function.
About = tuple[str | None, str | None, str | None, str | None, str | None]
_OTHERS: About = (None, None, None, None, None)


class Follower(Protocol):
    """Looks after what the holders of locks do in the log."""

    def follow_process(self, pid: int) -> None:
        """Read all that this process writes from here on."""

    def forget_process(self, pid: int) -> None:
        """Read no more of it."""

    def recall_activity(self, pid: int) -> list[LoggedActivity]:
        """What the process wrote just before."""


class LoggedWaitingGroup(msgspec.Struct):
    """Sessions of one application and user that waited with one statement."""

    application: str | None
    user: str | None
    #: With its values.
    statement: str | None
    inner: str | None
    function: str | None
    count: int = 0
    seconds: float = 0.0
    longest: float = 0.0


class LoggedTurns(msgspec.Struct, frozen=True):
    """How many holders of a row a statement has waited through, one after the other, and the longest, in seconds."""

    number: int = 0
    longest: float = 0.0


class WorstMoment(msgspec.Struct, frozen=True):
    """The waits when most sessions waited; and those that were named in a queue only, with the wait that names them."""

    at: datetime
    waits: tuple[LockWait, ...]
    #: When each of them began, in the same order; None: the log does not say.
    since: tuple[datetime | None, ...]
    #: What each of them has waited through before.
    turns: tuple[LoggedTurns, ...] = ()
    only_queued: tuple[tuple[int, LockWait], ...] = ()


class LogIncident(msgspec.Struct, frozen=True):
    """One incident, as the log shows it."""

    started: datetime
    ended: datetime
    waits: int
    peak: int
    longest: float
    session_seconds: float
    worst: WorstMoment | None
    groups: tuple[LoggedWaitingGroup, ...]
    #: How waits ended, and how many did so.
    outcomes: dict[str, int]
    deadlocks: tuple[LoggedDeadlock, ...]
    deadlocks_total: int
    #: What blockers wrote, by PID.
    sessions: dict[int, tuple[LoggedActivity, ...]]
    #: Waits whose end or length the log does not say: the figures are the least.
    unseen_ends: int = 0
    #: Sessions that still waited when the log ended.
    still_waiting: int = 0


class Outcome(msgspec.Struct, frozen=True):
    """What came of a log: incidents in the order of their beginning."""

    incidents: tuple[LogIncident, ...]
    incidents_total: int
    waits_total: int
    deadlocks_total: int
    session_seconds: float
    #: Waits that were not followed, since too many were open.
    dropped: int


_NO_TURNS = LoggedTurns()


class _Passed(msgspec.Struct, frozen=True):
    """A wait for a row that ended well: of which statement, when, and after which turns."""

    statement: str | None
    at: datetime
    turns: LoggedTurns


class _Open(msgspec.Struct):
    """A wait that goes on."""

    wait: LockWait
    since: datetime | None
    turns: LoggedTurns = _NO_TURNS


class _Course(msgspec.Struct, eq=False):
    """An incident that may go on."""

    started: datetime
    last: datetime
    open: dict[int, _Open] = {}
    reports: dict[str, tuple[LockWait, dict[int, None]]] = {}
    keys: dict[int | str, None] = {}
    waits: int = 0
    peak: int = 0
    is_stale: bool = False
    worst: WorstMoment | None = None
    longest: float = 0.0
    seconds: float = 0.0
    unseen: int = 0
    groups: dict[About, LoggedWaitingGroup] = {}
    outcomes: dict[str, int] = {}
    deadlocks: list[LoggedDeadlock] = []
    deadlocks_total: int = 0
    sessions: dict[int, list[LoggedActivity]] = {}
    passed: dict[int, _Passed] = {}
    most_keys: int = _MOST_KEYS


class Assembler:
    """Takes events in the order of the log."""

    def __init__(self, follower: Follower | None = None) -> None:
        #: The reader of the log at the moment; None: nothing is known of holders but their PIDs.
        self.follower = follower
        #: By their identity: there may be thousands.
        self._courses: dict[int, _Course] = {}
        self._by_key: dict[int | str, _Course] = {}
        self._now: datetime | None = None
        self._checked: datetime | None = None
        self._kept: list[LogIncident] = []
        self._total = 0
        self._waits = 0
        self._deadlocks = 0
        self._seconds = 0.0
        self._dropped = 0
        self._open = 0
        #: The latest one that a waiter canceled.
        self._canceled_worker: Origin | None = None
        #: Waits that are part of a deadlock, until it is reported.
        self._doomed: dict[int, LockWait] = {}

    def add_event(self, event: Event) -> None:
        """One more event."""
        if isinstance(event, ServerStopped):
            self._add_server_stop(event)
            return
        self._close_quiet_courses(event.origin.at)
        match event:
            case LockWait():
                self._add_wait(event)
            case LockAcquired():
                self._add_acquisition(event)
            case StatementEnded():
                self._add_statement_end(event)
            case LoggedDeadlock():
                self._add_deadlock(event)
            case LoggedActivity():
                self._add_activity(event)

    def finish(self, at: datetime | None) -> Outcome:
        """What came of it all; `at`: of the last line of the log."""
        end = max((each for each in (at, self._now) if each is not None), default=None)
        self._close_doomed(None)
        for course in list(self._courses.values()):
            still = len(course.open)
            for pid in list(course.open):
                self._close_wait(course, pid, end or course.last, None, UNSEEN)
            self._store_course(course, still)
        kept = sorted(self._kept, key=_compute_cost, reverse=True)[:MOST_INCIDENTS]
        kept.sort(key=lambda each: each.started)
        return Outcome(tuple(kept), self._total, self._waits, self._deadlocks, self._seconds, self._dropped)

    def _close_quiet_courses(self, at: datetime) -> None:
        self._now = at if self._now is None else max(at, self._now)
        if self._checked is not None and abs(at - self._checked) < _CHECK_EVERY:
            return
        self._checked = at
        self._close_doomed(at)
        for course in [each for each in self._courses.values() if len(each.keys) > each.most_keys]:
            self._prune_course(course)
        for course in [each for each in self._courses.values() if not each.open and abs(at - each.last) > QUIET]:
            self._store_course(course, 0)

    def _close_doomed(self, at: datetime | None) -> None:
        """Waits that the deadlock detector has ended, though the report of it is missing."""
        for pid, wait in list(self._doomed.items()):
            if at is not None and abs(at - wait.origin.at) <= timedelta(seconds=2):
                continue
            del self._doomed[pid]
            course = self._by_key.get(pid)
            if course is not None and pid in course.open and course.open[pid].wait is wait:
                self._close_wait(course, pid, wait.origin.at, wait.seconds, DEADLOCK)

    def _add_wait(self, event: LockWait) -> None:
        pid, at = event.origin.pid, event.origin.at
        if event.holders == (pid,):
            # A canceled worker gave way while the session wrote that it waits.
            event = msgspec.structs.replace(event, holders=self._find_canceled_worker(event))
        began = _compute_start(event)
        former = self._by_key.get(pid)
        if former is not None and pid in former.open and former.open[pid].wait.target != event.target:
            self._close_wait(former, pid, began or at, None, UNSEEN)
        if self._open >= MOST_WAITS:
            self._dropped += 1
            return
        report = self._find_report(event)
        # Of a crowd each names all others, in the same words.
        queue = () if report is not None and report[0].queue == event.queue else event.queue
        holders = filter(None, event.holders) if 0 in event.holders else event.holders
        course = self._join_course(event, [pid, event.target, *holders, *queue])
        if pid not in course.open:
            course.waits += 1
            self._waits += 1
            self._open += 1
            course.open[pid] = _Open(event, began, _find_turns(course, event, began))
            course.started = min(course.started, began or at)
        else:
            course.open[pid].wait = event
        if not event.is_of_unknown_length:
            course.longest = max(course.longest, event.seconds)
        if event.in_deadlock:
            self._doomed[pid] = event
        others = report[1] if report is not None and not queue else dict.fromkeys(event.queue)
        others.pop(pid, None)
        course.reports.pop(event.target, None)
        course.reports[event.target] = (event, others)
        if len(course.reports) > _MOST_REPORTS:
            del course.reports[next(iter(course.reports))]
        self._count_peak(course, at)
        for holder in event.holders:
            self._look_after(course, holder)

    def _find_report(self, event: LockWait) -> tuple[LockWait, dict[int, None]] | None:
        """What was last said of the queue for this lock."""
        course = self._by_key.get(event.target)
        return course.reports.get(event.target) if course is not None and course.open else None

    def _add_acquisition(self, event: LockAcquired) -> None:
        pid, at = event.origin.pid, event.origin.at
        course = self._by_key.get(pid)
        if course is None or pid not in course.open:
            # Its beginning is in an earlier log, below what was read of it, or a canceled worker was too fast for it.
            workers = self._find_canceled_worker(event)
            began = LockWait(event.origin, event.mode, event.target, event.seconds, holders=workers)
            course = self._join_course(began, [pid, event.target, *workers])
            course.started = min(course.started, at - timedelta(seconds=event.seconds))
            course.waits += 1
            self._waits += 1
            self._open += 1
            course.open[pid] = _Open(began, _compute_start(began))
            self._count_peak(course, at)
            for worker in workers:
                self._look_after(course, worker)
        self._close_wait(course, pid, at, event.seconds, ACQUIRED)

    def _find_canceled_worker(self, event: LockWait | LockAcquired) -> tuple[int, ...]:
        """The worker of autovacuum that gave way: canceled just before, on a table that the statement names."""
        worker = self._canceled_worker
        if worker is None or not event.target.startswith("relation ") or not worker.relation:
            return ()
        is_just_before = timedelta(0) <= event.origin.at - worker.at <= _SOON
        return (worker.pid,) if is_just_before and worker.relation in (event.origin.statement or "") else ()

    def _add_statement_end(self, event: StatementEnded) -> None:
        pid, at = event.origin.pid, event.origin.at
        course = self._by_key.get(pid)
        if event.how == AUTOVACUUM_CANCELED:
            self._canceled_worker = event.origin
        if course is not None and pid in course.open:
            self._close_wait(course, pid, at, None, event.how)
            return
        if event.how == "lock_timeout" or (event.is_of_a_row and event.how in ("statement_timeout", "canceled")):
            target = f"a row of {event.origin.relation}" if event.origin.relation else NO_LOCK
            wait = LockWait(event.origin, "", target, 0.0, is_of_unknown_length=True)
            self._add_wait(wait)
            course = self._by_key.get(pid)
            if course is not None and pid in course.open:
                self._close_wait(course, pid, at, None, event.how)
        elif course is not None:
            self._add_activity(LoggedActivity(event.origin, end=event.how))

    def _add_deadlock(self, event: LoggedDeadlock) -> None:
        at, victim = event.origin.at, event.origin.pid
        self._deadlocks += 1
        waits = {each.pid: _member_wait(event, place) for place, each in enumerate(event.members)}
        first = waits.get(victim) or next(iter(waits.values()))
        course = self._join_course(first, [*waits, *(each.target for each in event.members)])
        course.deadlocks_total += 1
        if len(course.deadlocks) < _MOST_DEADLOCKS:
            course.deadlocks.append(event)
        self._show_circle(course, waits, at)
        if victim in course.open:
            self._close_wait(course, victim, at, None, DEADLOCK)
        elif victim in waits:
            course.waits += 1
            self._waits += 1
            self._count_end(course, waits[victim], None, DEADLOCK)

    def _show_circle(self, course: _Course, waits: dict[int, LockWait], at: datetime) -> None:
        """A circle is only whole in the report: that is a moment of its own."""
        both = {pid: (each.wait, each.since) for pid, each in course.open.items()}
        both.update({pid: (_merge_wait(both[pid][0], each) if pid in both else each, both.get(pid, (each, None))[1])
                     for pid, each in waits.items()})  # fmt: skip
        if len(both) >= course.peak:
            course.peak, course.is_stale = len(both), False
            course.worst = WorstMoment(at, tuple(each for each, _ in both.values()), tuple(s for _, s in both.values()))

    def _add_activity(self, event: LoggedActivity) -> None:
        pid = event.origin.pid
        course = self._by_key.get(pid)
        if course is None:
            return
        if pid in course.open and event.seconds is not None:
            self._close_wait(course, pid, event.origin.at, None, UNSEEN)
        notes = course.sessions.get(pid)
        if notes is not None and len(notes) < _MOST_NOTES:
            notes.append(event)

    def _join_course(self, wait: LockWait, keys: list[int | str]) -> _Course:
        """The incident that the wait belongs to, with all that it brings together."""
        at, by_key = wait.origin.at, self._by_key
        place = _describe_place(wait) if wait.target == NO_LOCK else None
        if place is not None:
            keys = [key for key in keys if key != NO_LOCK]
        course: _Course | None = None
        for key in keys:
            other = by_key.get(key)
            if other is None or other is course:
                continue
            if not other.open and abs(at - other.last) > QUIET:
                self._store_course(other, 0)
            elif course is None:
                course = other
            else:
                course, other = (other, course) if len(other.keys) > len(course.keys) else (course, other)
                self._merge_courses(course, other)
        if course is None and place is not None:
            course = by_key.get(place)
        if course is None:
            course = _Course(at, at)
            self._courses[id(course)] = course
        for key in keys if place is None else (*keys, place):
            if by_key.get(key) is not course:
                course.keys[key] = None
                by_key[key] = course
        course.last = max(course.last, at)
        return course

    def _prune_course(self, course: _Course) -> None:
        """Forget what no session waits for any more: an incident may last for days."""
        kept: dict[int | str, None] = dict.fromkeys(course.sessions)
        for wait in (each.wait for each in course.open.values()):
            kept.update(dict.fromkeys((wait.origin.pid, wait.target, *wait.holders, *wait.queue)))
        for key in course.keys.keys() - kept.keys():
            if self._by_key.get(key) is course:
                del self._by_key[key]
        course.keys = {key: None for key in kept if self._by_key.get(key) is course}
        course.passed = {pid: each for pid, each in course.passed.items() if abs(course.last - each.at) <= QUIET}
        course.most_keys = max(_MOST_KEYS, 2 * len(course.keys))

    def _merge_courses(self, course: _Course, other: _Course) -> None:
        for each in (course, other):
            self._capture_peak(each)
        del self._courses[id(other)]
        for key in other.keys:
            self._by_key[key] = course
        course.started, course.last = min(course.started, other.started), max(course.last, other.last)
        for name in ("open", "reports", "keys"):
            getattr(course, name).update(getattr(other, name))
        course.waits += other.waits
        course.seconds += other.seconds
        course.unseen += other.unseen
        course.longest = max(course.longest, other.longest)
        course.deadlocks_total += other.deadlocks_total
        course.deadlocks = (course.deadlocks + other.deadlocks)[:_MOST_DEADLOCKS]
        if other.peak > course.peak:
            course.peak, course.worst = other.peak, other.worst
        for how, number in other.outcomes.items():
            course.outcomes[how] = course.outcomes.get(how, 0) + number
        for kind, group in other.groups.items():
            _add_group(course.groups, kind, group)
        for pid, notes in other.sessions.items():
            if pid not in course.sessions and len(course.sessions) < _MOST_SESSIONS:
                course.sessions[pid] = notes

    def _close_wait(self, course: _Course, pid: int, at: datetime, seconds: float | None, how: str) -> None:
        """A wait is over. `seconds`: for how long it waited; None: as long as the time of the log says."""
        self._capture_peak(course)
        ended = course.open.pop(pid)
        self._open -= 1
        if how == ACQUIRED and ended.wait.target.startswith(_OF_A_ROW):
            turns = ended.turns
            if ended.wait.target.startswith("transaction"):
                turns = LoggedTurns(turns.number + 1, max(turns.longest, seconds or 0.0))
            course.passed[pid] = _Passed(ended.wait.origin.statement, at, turns)
        if seconds is None and ended.since is not None:
            seconds = max((at - ended.since).total_seconds(), 0.0 if how == UNSEEN else ended.wait.seconds)
        self._count_end(course, ended.wait, seconds, how)
        report = course.reports.get(ended.wait.target)
        if report is not None:
            report[1].pop(pid, None)
            if not report[1]:
                del course.reports[ended.wait.target]
        course.last = max(course.last, at)

    def _count_end(self, course: _Course, wait: LockWait, seconds: float | None, how: str) -> None:
        course.outcomes[how] = course.outcomes.get(how, 0) + 1
        course.unseen += how == UNSEEN or seconds is None
        course.seconds += seconds or 0.0
        self._seconds += seconds or 0.0
        course.longest = max(course.longest, seconds or 0.0)
        origin = wait.origin
        about = (origin.application, origin.user, origin.statement, origin.inner, origin.function)
        _add_group(course.groups, about, LoggedWaitingGroup(*about, 1, seconds or 0.0, seconds or 0.0))

    def _count_peak(self, course: _Course, at: datetime) -> None:
        """Called where sessions were added: the moment is kept before the first of them goes."""
        number = len(course.open)
        for report, queue in course.reports.values():
            if queue and _is_recent(report, at):
                number += len(queue)
        if number >= course.peak:
            course.peak, course.is_stale = number, True

    def _capture_peak(self, course: _Course) -> None:
        if course.is_stale:
            now = max((each.wait.origin.at for each in course.open.values()), default=course.last)
            waits = list(islice(course.open.values(), _MOST_KEPT))
            queued = tuple(islice(_only_queued(course, now), _MOST_KEPT))
            course.worst = WorstMoment(
                now,
                tuple(
                    each.wait if place < _MOST_WHOLE else _shorten_wait(each.wait) for place, each in enumerate(waits)
                ),
                tuple(each.since for each in waits),
                tuple(each.turns for each in waits),
                queued,
            )
            course.is_stale = False

    def _look_after(self, course: _Course, holder: int) -> None:
        """Find out what a holder did, once in each incident."""
        if holder == 0 or holder in course.sessions or len(course.sessions) >= _MOST_SESSIONS:
            return
        course.sessions[holder] = self.follower.recall_activity(holder) if self.follower is not None else []
        if self.follower is not None:
            self.follower.follow_process(holder)

    def _add_server_stop(self, event: ServerStopped) -> None:
        """A server that starts does not say when the one before has ended: its sessions waited at least until now."""
        self._close_doomed(None)
        for course in self._courses.values():
            for pid, each in list(course.open.items()):
                at = event.at if event.is_exact else max(each.wait.origin.at, course.last)
                self._close_wait(course, pid, at, None, "server_stopped")
                course.unseen += not event.is_exact
        for course in list(self._courses.values()):
            self._store_course(course, 0)

    def _store_course(self, course: _Course, still_waiting: int) -> None:
        """The incident is over: kept if it is one of the worst."""
        self._capture_peak(course)
        del self._courses[id(course)]
        for key in course.keys:
            if self._by_key.get(key) is course:
                del self._by_key[key]
        for pid in course.sessions if self.follower is not None else ():
            if self.follower is not None:
                self.follower.forget_process(pid)
        self._total += 1
        self._kept.append(_finish_course(course, still_waiting))
        if len(self._kept) > 2 * MOST_INCIDENTS:
            self._kept.sort(key=_compute_cost, reverse=True)
            del self._kept[MOST_INCIDENTS:]


def _finish_course(course: _Course, still_waiting: int) -> LogIncident:
    groups = sorted(course.groups.values(), key=lambda each: -each.seconds)
    return LogIncident(
        course.started,
        course.last,
        course.waits,
        course.peak,
        course.longest,
        course.seconds,
        course.worst,
        tuple(groups),
        course.outcomes,
        tuple(course.deadlocks),
        course.deadlocks_total,
        dict(_kept_sessions(course)),
        course.unseen,
        still_waiting,
    )


def _kept_sessions(course: _Course) -> Iterator[tuple[int, tuple[LoggedActivity, ...]]]:
    """Of the blockers of the worst moment, what they wrote just before and just after."""
    if course.worst is None:
        return
    at = course.worst.at
    holders = dict.fromkeys(pid for wait in course.worst.waits for pid in wait.holders if pid in course.sessions)
    for pid in islice(holders, _MOST_BLOCKERS):
        notes = course.sessions[pid]
        before = sum(note.origin.at <= at for note in notes)
        begin = max(before - _MOST_SAID // 2, 0)
        yield pid, tuple(notes[begin : begin + _MOST_SAID])


def _shorten_wait(wait: LockWait) -> LockWait:
    origin = wait.origin
    if len(origin.statement or "") <= _BRIEF and len(origin.inner or "") <= _BRIEF:
        return wait
    texts = {
        "statement": origin.statement and origin.statement[:_BRIEF],
        "inner": origin.inner and origin.inner[:_BRIEF],
    }
    return msgspec.structs.replace(wait, origin=msgspec.structs.replace(origin, **texts))


def _compute_cost(incident: LogIncident) -> tuple[float, int]:
    return incident.session_seconds, incident.waits + incident.deadlocks_total


def _compute_start(wait: LockWait) -> datetime | None:
    return None if wait.is_of_unknown_length else wait.origin.at - timedelta(seconds=wait.seconds)


def _find_turns(course: _Course, wait: LockWait, began: datetime | None) -> LoggedTurns:
    """Of a statement that queues again as soon as it has waited for one holder of a row."""
    passed = course.passed.get(wait.origin.pid)
    if passed is None or began is None or not wait.target.startswith(_OF_A_ROW):
        return _NO_TURNS
    is_same = passed.statement == wait.origin.statement and abs(began - passed.at) <= _AT_ONCE
    return passed.turns if is_same else _NO_TURNS


def _describe_place(wait: LockWait) -> str:
    return f"{NO_LOCK} in {wait.origin.database}"


def _is_recent(report: LockWait, at: datetime) -> bool:
    return (at - report.origin.at).total_seconds() <= report.seconds * _SLACK


def _only_queued(course: _Course, at: datetime) -> Iterator[tuple[int, LockWait]]:
    """Sessions that a queue names, and that have not said yet that they wait."""
    seen = set[int]()
    for report, queue in course.reports.values():
        if not queue or not _is_recent(report, at):
            continue
        for pid in queue:
            if pid not in course.open and pid not in seen:
                seen.add(pid)
                yield pid, report


def _member_wait(event: LoggedDeadlock, place: int) -> LockWait:
    """The wait of a member of a deadlock, as the report has it."""
    member = event.members[place]
    origin = event.origin
    if member.pid != origin.pid:
        origin = Origin(origin.at, member.pid, database=origin.database, statement=member.statement)
    return LockWait(origin, member.mode, member.target, 0.0, is_of_unknown_length=True, holders=(member.blocked_by,))


def _merge_wait(known: LockWait, member: LockWait) -> LockWait:
    """A wait that has its own lines, with the blocker that the report names."""
    return msgspec.structs.replace(known, holders=member.holders, queue=())


def _add_group(groups: dict[About, LoggedWaitingGroup], about: About, more: LoggedWaitingGroup) -> None:
    if about not in groups and len(groups) >= _MOST_GROUPS:
        about = _OTHERS
    group = groups.setdefault(about, LoggedWaitingGroup(*about))
    group.count += more.count
    group.seconds += more.seconds
    group.longest = max(group.longest, more.longest)
