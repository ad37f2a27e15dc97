"""Incidents made by hand, and the rules that speak of them.

The usual incident: 10 is idle in its transaction and has read orders; 20 wants to ALTER it, and queues; 31, 32 and 33
want to read it, and queue behind 20. All of it 60 seconds old.
"""

from datetime import datetime
from typing import Any

from msgspec.structs import replace

from pgdoctor.diagnosis.diagnose import diagnose
from pgdoctor.fields import Duration
from pgdoctor.mitigation.circumstances import AgentState
from pgdoctor.mitigation.decision import Decision
from pgdoctor.mitigation.history import History
from pgdoctor.mitigation.plan import Plan, make_plan
from pgdoctor.mitigation.rules import Mitigation, Protect, Rule
from pgdoctor.model.diagnosis import Diagnosis
from pgdoctor.model.snapshot import KnownLock, Session, Snapshot
from tests.building import NOW, ago, lock, session, snapshot

IDLE, DDL, READERS = 10, 20, (31, 32, 33)


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


def diagnosis(*sessions: Session, at: datetime = NOW, **server: Any) -> Diagnosis:
    """The diagnosis of these sessions, known to earlier snapshots; of the usual incident where there are none."""
    return diagnose(known_before(snapshot(sessions or usual(), at, **server)))


def known_before(seen: Snapshot) -> Snapshot:
    """The same where earlier snapshots have shown all locks for a minute."""
    known = {
        pid: tuple(KnownLock(each.target, each.mode, ago(60)) for each in one.held)
        for pid, one in seen.sessions.items()
    }
    return replace(seen, known_locks=known)


def rule(name: str, classification: str | tuple[str, ...], action: str, **conditions: Any) -> Rule:
    return Rule(name=name, classification=classification, action=action, **conditions)  # type: ignore[arg-type]


END_IDLE = rule("idle", "idle_in_transaction", "terminate")
CANCEL_DDL = rule("ddl", "migration", "cancel")


def settings(*rules: Rule, **others: Any) -> Mitigation:
    """Rules that act at the first poll, unless something else is said."""
    return Mitigation(**{"mode": "enforce", "cooldown": Duration(0), "min_samples": 1, "rules": rules, **others})


BOTH = settings(END_IDLE, CANCEL_DDL)


def decide(
    *sessions: Session,
    by: Mitigation = BOTH,
    history: History | None = None,
    amid: AgentState | None = None,
    **server: Any,
) -> Plan:
    return make_plan(diagnosis(*sessions, **server), by, history or History(), amid)


def about(made: Plan, pid: int) -> Decision:
    [decision] = [each for each in made.decisions if each.pid == pid]
    return decision


def reasons(decision: Decision) -> set[str]:
    return {verdict.guard for verdict in decision.objections}


def protecting(**names: tuple[str, ...]) -> Mitigation:
    return replace(BOTH, protect=(Protect(**names),))
