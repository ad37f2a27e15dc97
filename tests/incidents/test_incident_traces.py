"""Which incident of an earlier agent is the one that is there now, and which is another one."""

from datetime import datetime, timedelta

import msgspec
from msgspec.structs import replace

from pgdoctor.diagnosis.diagnose import diagnose
from pgdoctor.incidents.incident_traces import IncidentTraces, is_continued, trace_incident
from pgdoctor.model.snapshot import Session
from tests.building import NOW, ago, lock, row, session, snapshot, transaction


def holding(pid: int = 10, xact_start: datetime = NOW - timedelta(seconds=90)) -> Session:
    held = (transaction(pid, pid, granted=True), lock(pid, "RowExclusiveLock", granted=True))
    return session(pid, state="idle in transaction", has_xid=True, xact_start=xact_start, locks=held)


def waiting(pid: int = 20, holder: int = 10, query_start: datetime = NOW - timedelta(seconds=60)) -> Session:
    return session(pid, blockers=(holder,), query_start=query_start, locks=row(pid, holder))


def traced(*sessions: Session, seconds: float = 0.0) -> IncidentTraces:
    return trace_incident(diagnose(snapshot(sessions, at=NOW + timedelta(seconds=seconds))))


BEFORE = traced(holding(), waiting())


def test_another_blocker_and_another_waiter_are_another_incident() -> None:
    assert not is_continued(BEFORE, traced(holding(11), waiting(21, 11), seconds=1))


def test_a_pid_that_is_given_again_is_another_session() -> None:
    again = replace(holding(), backend_start=ago(-1), xact_start=ago(-2))
    assert not is_continued(BEFORE, traced(again, waiting(21), seconds=3))


def test_the_same_session_blocks_much_later_in_another_transaction() -> None:
    later = holding(xact_start=ago(-3000))
    assert not is_continued(BEFORE, traced(later, waiting(21), seconds=3600))


def test_the_same_session_blocks_on_another_relation() -> None:
    now = replace(traced(holding(xact_start=ago(-1)), waiting(21), seconds=3), relation="public.users")
    assert not is_continued(BEFORE, now)


def test_the_same_transaction_blocks_still_however_late() -> None:
    assert is_continued(BEFORE, traced(holding(), waiting(21), seconds=90_000))


def test_the_same_statement_waits_still_behind_another() -> None:
    assert is_continued(BEFORE, traced(holding(11), waiting(holder=11), seconds=3))


def test_a_waiter_of_then_holds_the_relation_now() -> None:
    assert is_continued(BEFORE, traced(holding(20, xact_start=ago(-2)), waiting(21, 20), seconds=5))


def test_traces_survive_their_encoding() -> None:
    assert msgspec.json.decode(msgspec.json.encode(BEFORE), type=IncidentTraces) == BEFORE


def altering(
    pid: int, statement: str = "alter table orders add c int default 7", application: str = "deploy"
) -> Session:
    asked = lock(pid, "AccessExclusiveLock", granted=False, seconds=0.5)
    return session(pid, blockers=(10,), statement=statement, application_name=application, locks=(asked,))


def behind(pid: int, holder: int) -> Session:
    return session(pid, blockers=(holder,), locks=(lock(pid, "AccessShareLock", granted=False, seconds=0.4),))


def reading(xact_start: datetime = NOW - timedelta(seconds=90)) -> Session:
    return session(10, xact_start=xact_start, locks=(lock(10, "AccessShareLock", granted=True),))


def test_the_same_request_is_the_same_incident_with_any_session_in_front() -> None:
    before = traced(reading(), altering(20), behind(30, 20))
    assert before.request is not None
    assert before.request.statement == "alter table orders add c int default ?"
    assert (before.request.relation, before.request.waited) == ("public.orders", 0.5)
    another = replace(reading(xact_start=ago(-1)), backend_start=ago(-1))
    again = altering(21, "alter table orders add c int default 8")
    assert is_continued(before, traced(another, again, behind(31, 21), seconds=9))
    assert not is_continued(before, traced(another, again, behind(31, 21), seconds=301))
    for other in (altering(21, application="other"), altering(21, "alter table orders drop c")):
        assert not is_continued(before, traced(another, other, behind(31, 21), seconds=9))


def test_update_that_waits_is_no_request_that_is_retried() -> None:
    assert BEFORE.request is None
