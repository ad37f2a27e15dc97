"""Every guard that is there is in force, and objects in a test of its own.

H74: a guard in a new file is silently ignored, and all tests are green.
"""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace

from pgdoctor.diagnosis.diagnose import diagnose
from pgdoctor.fields import Duration, Window
from pgdoctor.mitigation.candidate import Candidate, Case
from pgdoctor.mitigation.circumstances import AgentState
from pgdoctor.mitigation.guard import ask_guard
from pgdoctor.mitigation.guards import all_guards
from pgdoctor.mitigation.history import Action, History, Opening
from pgdoctor.mitigation.rules import Protect
from pgdoctor.model.identity import Identity
from pgdoctor.model.snapshot import RowLocker
from tests.building import NOW, ago, lock, snapshot
from tests.copied import run_copy
from tests.mitigation.build import BOTH, CANCEL_DDL, DDL, END_IDLE, IDLE, READERS, ddl, diagnosis, idle, reader
from tests.mitigation.test_guards import holder, writer

_NEW_GUARD = '''
from pgdoctor.mitigation.guard import Guard


class FullMoon(Guard):
    """Nobody is signalled at full moon."""

    name = "full_moon"

    def find_objection(self, case):
        return "the moon is full"

    def format_value(self, case):
        return "full"
'''

_ASK = """
from pgdoctor.mitigation.decision import REASONS
from tests.mitigation.build import IDLE, about, decide, reasons
from tests.mitigation.test_guards import holder, writer
assert "full_moon" in REASONS
plan = decide(holder(), writer())
assert plan.approved is None
assert reasons(about(plan, IDLE)) == {"full_moon"}
"""


_FILE = "mitigation/guards/moon.py"


def test_h74_a_guard_in_a_new_file_is_in_force(tmp_path: Path) -> None:
    done = run_copy(tmp_path, _FILE, _NEW_GUARD, _ASK)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("full_moon", "cycle"), "has the name of another guard"),
        (('    name = "full_moon"\n', ""), "has the name of another guard"),
        (("def format_value", "def format_worth"), "abstract"),
    ],
    ids=["another's name", "no name", "incomplete"],
)
def test_h74_a_guard_that_cannot_be_asked_stops_mitigation(tmp_path: Path, change: tuple[str, str], said: str) -> None:
    done = run_copy(tmp_path, _FILE, _NEW_GUARD.replace(*change), "import pgdoctor.mitigation.plan")
    assert done.returncode != 0
    assert said in done.stderr


def test_guards_are_asked_in_a_fixed_order() -> None:
    """Outputs list objections in this order: the never-list first, then protection, terms, brakes, pace."""
    files = [type(guard).__module__.rpartition(".")[2] for guard in all_guards()]
    shipped = [
        file
        for file in dict.fromkeys(files)
        if file in ("hard_limits", "protection", "rule_conditions", "brakes", "rate_limits")
    ]
    assert shipped == ["hard_limits", "protection", "rule_conditions", "brakes", "rate_limits"]
    names = [guard.name for guard in all_guards()]
    assert (names[0], names[-1]) == ("not_a_client", "persistence")
    assert names.index("kill_switch") < names.index("leader") < names.index("breaker")


SOUND = (holder(), writer())


def case(*sessions: object, pid: int = IDLE, history: History | None = None, **others: object) -> Case:
    """What is judged: the sound incident, or these sessions, with facts of the server among `others`."""
    server = {key: others.pop(key) for key in list(others) if key not in Case.__struct_fields__}
    found = diagnosis(*(sessions or SOUND), **server)  # type: ignore[arg-type]
    [blocker] = [each for each in found.blockers if each.pid == pid]
    usual = {"rule": END_IDLE, "signal": "terminate", "settings": BOTH}
    return Case(Candidate(blocker, found), history=history or History(), **{**usual, **others})  # type: ignore[arg-type]


def after(outcome: str | None, seconds: float = 20.0) -> History:
    victim = Identity.of(holder())
    assert victim is not None
    done = Action(victim, "terminate", "idle", "idle_in_transaction", None, (), ago(seconds), outcome=outcome)  # type: ignore[arg-type]
    return History(actions=(done,))


def amid(**facts: object) -> Case:
    return case(circumstances=AgentState(**facts))  # type: ignore[arg-type]


def by(**terms: object) -> Case:
    return case(rule=replace(END_IDLE, **terms))


def in_a_circle() -> Case:
    first = ddl(1, blockers=(2,), locks=(lock(1, "AccessExclusiveLock", granted=False),))
    second = ddl(2, blockers=(1,), locks=(lock(2, "AccessExclusiveLock", granted=False),))
    return case(first, second, reader(31, blockers=(1,)), pid=1)


def waiting_for_a_snapshot() -> Case:
    wait = lock(20, "ShareLock", granted=False, locktype="virtualxid", relation=None, database=None, virtualxid="10/1")
    return case(idle(), ddl(locks=(wait,), statement="create index concurrently i on orders (v)"))


def sharing_a_row() -> Case:
    table = 20_000
    held = (*holder().locks, lock(IDLE, "RowShareLock", granted=True, relation=table))
    wanted = lock(31, "AccessExclusiveLock", granted=True, locktype="tuple", relation=table, page=0, tuple=1)
    waiter = replace(writer(), locks=(*writer().locks, wanted))
    other = RowLocker(40, None, 1, table, locks_rows=True, changes_rows=False)
    shared = replace(snapshot([holder(locks=held), waiter]), row_lockers=(other,))
    found = diagnose(shared)
    return Case(
        Candidate(found.blockers[0], found), rule=END_IDLE, signal="terminate", settings=BOTH, history=History()
    )


def many_incidents() -> Case:
    pairs = [
        each
        for pid in (IDLE, 40, 50)
        for each in (idle(pid), ddl(pid + 1, blockers=(pid,), locks=(lock(pid + 1, "ShareLock", granted=False),)))
    ]
    return case(*pairs, settings=replace(BOTH, max_roots=2))


#: For each guard by its name the case in which it objects. A new guard gets its line here.
OBJECTING: dict[str, Callable[[], Case]] = {
    "not_a_client": lambda: case(holder(backend_type="walsender"), writer()),
    "untouchable": lambda: case(holder(application_name="pg_dump"), writer()),
    "hidden": lambda: case(holder(backend_start=None), writer()),
    "own_session": lambda: case(holder(application_name="pgdoctor"), writer()),
    "sync_rep": lambda: case(holder(state="active", wait_event_type="IPC", wait_event="SyncRep"), writer()),
    "ending_transaction": lambda: case(holder(state="active", statement="commit"), writer()),
    "release_uncertain": sharing_a_row,
    "cycle": in_a_circle,
    "not_permitted": lambda: case(holder(is_superuser=True, may_signal=False), writer()),
    "recovery": lambda: case(in_recovery=True),
    "visibility": lambda: case(hidden_sessions=1),
    "not_queued": lambda: case(idle(), reader(20, blockers=(IDLE,)), ddl(21, blockers=(20,)), pid=20),
    "concurrently": lambda: case(
        holder(state="active", statement="create index concurrently i on orders (v)"), writer()
    ),
    "snapshot_wait": waiting_for_a_snapshot,
    "futile": lambda: case(signal="cancel"),
    "recommendation": lambda: case(holder(application_name="pg_dump"), writer()),
    "already_tried": lambda: case(history=after("ineffective")),
    "already_announced": lambda: case(history=after("would_act")),
    "protected": lambda: case(settings=replace(BOTH, protect=(Protect(usename=("app",)),))),
    "protected_by_default": lambda: case(holder(application_name="psql"), writer()),
    "marker": lambda: case(holder(application_name="pgdoctor:protect"), writer()),
    "min_blocked": lambda: by(min_blocked=2),
    "min_blocked_share": lambda: by(min_blocked_share=1.0),
    "active_window": lambda: by(active_window=(Window("sat 08:00-18:00"),)),
    "min_wait": lambda: by(min_wait=Duration(3600)),
    "deadlock_timeout": lambda: case(deadlock_timeout=3600.0),
    "min_age": lambda: by(min_age=Duration(3600)),
    "max_age": lambda: by(max_age=Duration(1)),
    "min_state_age": lambda: by(min_state_age=Duration(3600)),
    "min_session_age": lambda: by(min_session_age=Duration(100_000)),
    "queue_policy": lambda: case(
        idle(), ddl(), *(reader(pid) for pid in READERS), pid=DDL, rule=CANCEL_DDL, signal="cancel",
        settings=replace(BOTH, queue_policy="blockers"),
    ),
    "kill_switch": lambda: amid(kill_switch="somebody said stop"),
    "maintenance_mark": lambda: amid(maintenance_until=NOW + timedelta(hours=1)),
    "leader": lambda: amid(leader=False),
    "may_signal": lambda: amid(may_signal=False),
    "superuser": lambda: amid(superuser=True),
    "pooled": lambda: amid(pooled=True),
    "unresolved_protection": lambda: amid(unresolved=('mitigation.protect[0].usename "b": there is no such role',)),
    "audit": lambda: amid(audit="the disk is full"),
    "startup_grace": lambda: amid(watching_since=NOW),
    "sample_age": lambda: amid(sample_age=3600.0),
    "systemic": many_incidents,
    "breaker": lambda: case(opening=Opening(NOW, "nothing helped")),
    "recurrence": lambda: case(stop=Opening(NOW, "occurrence", fingerprint="x")),
    "shared_record": lambda: amid(shared="it is damaged"),
    "budget": lambda: case(settings=replace(BOTH, max_actions_per_hour=0)),
    "approval": lambda: case(settings=replace(BOTH, require_approval=True)),
    "under_way": lambda: case(history=after(None)),
    "cooldown": lambda: case(history=after("released", 1.0), settings=replace(BOTH, cooldown=Duration(15))),
    "persistence": lambda: case(settings=replace(BOTH, min_samples=2)),
}  # fmt: skip


@pytest.mark.parametrize("name", [guard.name for guard in all_guards()])
def test_each_guard_objects_where_it_should_and_only_there(name: str) -> None:
    """A guard that is missing here has no test in which it objects: give it a line in OBJECTING."""
    assert name in OBJECTING, f"no test makes {name} object"
    [guard] = [each for each in all_guards() if each.name == name]
    assert ask_guard(guard, case()).objection is None
    assert ask_guard(guard, OBJECTING[name]()).objection
    assert "failed" not in str(ask_guard(guard, OBJECTING[name]()).objection)


def test_no_case_is_left_of_a_guard_that_is_gone() -> None:
    assert set(OBJECTING) == {guard.name for guard in all_guards()}
