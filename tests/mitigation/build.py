"""Snapshots made by hand: the smallest thing a plan can be made of.

The usual incident: 10 idles in its transaction and has read orders; 20 wants to ALTER it, and queues; 31, 32 and 33
want to read it, and queue behind 20. All of it 60 seconds old.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from msgspec.structs import replace

from pgdoctor.diagnosis.diagnose import diagnose
from pgdoctor.diagnosis.diagnosis import Diagnosis
from pgdoctor.diagnosis.snapshot import Connections, Lock, Relation, Server, Session, Snapshot
from pgdoctor.mitigation.history import History
from pgdoctor.mitigation.plan import Decision, Plan, plan
from pgdoctor.mitigation.rules import Duration, Mitigation, Protect, Rule

NOW = datetime(2026, 5, 22, 23, 10, tzinfo=UTC)
ORDERS = Relation(oid=5000, name="public.orders", kind="r", is_system=False, pages=10, live_rows=1000.0)
SERVER = Server(
    version_num=180000,
    in_recovery=False,
    max_connections=100,
    connections=10,
    connections_by_state=Connections(),
    database="shop",
    database_oid=1,
    own_pid=999,
)

IDLE, DDL, READERS = 10, 20, (31, 32, 33)


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def lock(pid: int, mode: str, *, granted: bool, seconds: float | None = 60.0, **about: Any) -> Lock:
    """A lock on orders, or about what is said."""
    columns = {
        "locktype": "relation",
        "database": 1,
        "relation": ORDERS.oid,
        "page": None,
        "tuple": None,
        "virtualxid": None,
        "transactionid": None,
        "classid": None,
        "objid": None,
        "objsubid": None,
    }
    waitstart = None if granted or seconds is None else ago(seconds)
    return Lock(
        pid=pid, **{**columns, **about}, virtualtransaction=f"{pid}/1", mode=mode, granted=granted, waitstart=waitstart
    )


def session(pid: int, **facts: Any) -> Session:
    """A client's session that runs a SELECT for a minute, unless something else is said."""
    usual: dict[str, Any] = {
        "datname": "shop",
        "usename": "app",
        "application_name": "checkout",
        "backend_type": "client backend",
        "state": "active",
        "statement": "select * from orders",
        "backend_start": ago(3600),
        "xact_start": ago(60),
        "query_start": ago(60),
        "state_change": ago(60),
    }
    return Session(pid=pid, **{**usual, **facts})


def idle(pid: int = IDLE, **facts: Any) -> Session:
    held = (lock(pid, "AccessShareLock", granted=True),)
    return session(pid, **{"state": "idle in transaction", "locks": held, "application_name": "reporting", **facts})


def ddl(pid: int = DDL, *, blockers: tuple[int, ...] = (IDLE,), seconds: float | None = 60.0, **facts: Any) -> Session:
    asked = (lock(pid, "AccessExclusiveLock", granted=False, seconds=seconds),)
    usual = {"statement": "alter table orders add column note text", "application_name": "deploy"}
    return session(pid, **{**usual, "blockers": blockers, "locks": asked, **facts})


def reader(pid: int, *, blockers: tuple[int, ...] = (DDL,), seconds: float | None = 60.0, **facts: Any) -> Session:
    asked = (lock(pid, "AccessShareLock", granted=False, seconds=seconds),)
    return session(pid, **{"blockers": blockers, "locks": asked, **facts})


def usual() -> list[Session]:
    return [idle(), ddl(), *(reader(pid) for pid in READERS)]


def snapshot(sessions: Iterable[Session], at: datetime = NOW, **server: Any) -> Snapshot:
    return Snapshot(
        captured_at=at,
        server=replace(SERVER, **server),
        sessions={each.pid: each for each in sessions},
        relations={ORDERS.oid: ORDERS},
    )


def diagnosis(*sessions: Session, at: datetime = NOW, **server: Any) -> Diagnosis:
    """The diagnosis of these sessions; of the usual incident where there are none."""
    return diagnose(snapshot(sessions or usual(), at, **server))


def rule(name: str, classification: str | tuple[str, ...], action: str, **conditions: Any) -> Rule:
    return Rule(name=name, classification=classification, action=action, **conditions)  # type: ignore[arg-type]


END_IDLE = rule("idle", "idle_in_transaction", "terminate")
CANCEL_DDL = rule("ddl", "migration", "cancel")


def settings(*rules: Rule, **others: Any) -> Mitigation:
    """Rules that act at the first look, unless something else is said."""
    return Mitigation(**{"mode": "enforce", "cooldown": Duration(0), "min_samples": 1, "rules": rules, **others})


BOTH = settings(END_IDLE, CANCEL_DDL)


def decide(*sessions: Session, by: Mitigation = BOTH, history: History | None = None, **server: Any) -> Plan:
    return plan(diagnosis(*sessions, **server), by, history or History())


def about(made: Plan, pid: int) -> Decision:
    [decision] = [each for each in made.decisions if each.pid == pid]
    return decision


def reasons(decision: Decision) -> set[str]:
    return {verdict.guard for verdict in decision.objections}


def protecting(**names: tuple[str, ...]) -> Mitigation:
    return replace(BOTH, protect=(Protect(**names),))
