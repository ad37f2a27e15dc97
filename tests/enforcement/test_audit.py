"""What is done is on the disk before it is done, and holds for every later process."""

import asyncio
import itertools
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import psycopg
import pytest
from msgspec.structs import replace

from pgdoctor.enforcement.audit import Audit
from pgdoctor.fields import Duration
from pgdoctor.journal.keeper import Keeper
from pgdoctor.journal.store import Journal, JournalRecord
from pgdoctor.mitigation import audit_records
from pgdoctor.mitigation.audit_records import Arm, Disarm, Event, Intent, MaintenanceWindow, Settled
from pgdoctor.mitigation.history import Approval, Opening, Reset
from pgdoctor.mitigation.rules import Breaker
from pgdoctor.postgres.connection import Connection
from tests.mitigation.conftest import IDLE, Incident
from tests.scenes import Client

AT_ONCE = replace(IDLE, min_wait=Duration(0))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


@pytest.fixture
def keeper(path: Path) -> Iterator[Keeper]:
    kept = Keeper(path)
    yield kept
    kept.close()


@pytest.fixture
def holder(incident: Incident) -> Client:
    """Is idle in its transaction; a session waits for it."""
    return hold(incident, 1)


def hold(incident: Incident, row: int) -> Client:
    client = incident.app(f"update orders set v = 1 where id = {row}")
    incident.app().block(f"update orders set v = 2 where id = {row}")
    return client


def recorded(path: Path) -> list[JournalRecord]:
    with closing(Journal.open(path)) as journal:
        return journal.fetch_records()


def told(path: Path) -> list[Event]:
    return list(audit_records.read_events(recorded(path)))


def write(path: Path, incident: Incident, *told: Event) -> None:
    """As another process would."""

    async def server() -> str:
        async with await Connection.open(incident.agent) as door:
            return await door.system_identifier()

    identifier = asyncio.run(server())
    with closing(Journal.open(path)) as journal:
        for event in told:
            kind, subject, body, at = audit_records.encode_event(event)
            journal.append(identifier, kind, subject, body, at)


def at_the_last_moment(strike: Callable[[], None]) -> Callable[[], None]:
    """A brake that does something when it is asked right before the signal, and never brakes."""
    asked = itertools.count(1)
    return lambda: strike() if next(asked) == 2 else None


def at_the_first_look(strike: Callable[[], None]) -> Callable[[], None]:
    """The same right after the first poll."""
    asked = itertools.count(1)
    return lambda: strike() if next(asked) == 1 else None


def test_the_intent_is_on_the_disk_before_the_signal_and_the_outcome_after(
    incident: Incident, holder: Client, path: Path, keeper: Keeper
) -> None:
    before: list[str] = []

    def look() -> None:
        before.extend(record.kind for record in recorded(path))
        assert incident.alive(holder)

    actions, _ = incident.mitigate(
        AT_ONCE, journal=keeper, brake=at_the_last_moment(look), min_samples=1, most=1, max_actions_per_5m=7
    )
    assert before == ["intent"]
    assert [each.outcome for each in actions] == ["released"]
    intent, outcome = told(path)
    assert isinstance(intent, Intent)
    assert isinstance(outcome, Settled)
    assert (intent.action.victim, intent.action.rule, intent.mode) == (actions[0].victim, "idle", "enforce")
    assert intent.action.classification == "idle_in_transaction"
    assert intent.evidence
    assert {verdict.guard for verdict in intent.verdicts} >= {"leader", "budget", "audit", "min_wait"}
    assert {verdict.objection for verdict in intent.verdicts} == {None}
    assert (intent.budgets["actions_per_5m"], outcome.budgets["actions_per_5m"]) == (7, 6)
    assert (outcome.outcome, outcome.decision) == ("released", intent.decision)
    assert outcome.seconds is not None
    assert 0 <= outcome.seconds < 5
    assert outcome.signalled_at == actions[0].at


def test_refusal_of_the_server_is_recorded_with_its_sqlstate(incident: Incident, path: Path, keeper: Keeper) -> None:
    """Between the poll and the signal the user has become a superuser."""
    boss = incident.app("update orders set v = 1 where id = 1")
    incident.app().block("update orders set v = 2 where id = 1")
    asked = count()

    def promote() -> None:
        if next(asked):
            incident.scene.admin.execute("alter role app superuser")

    incident.mitigate(AT_ONCE, journal=keeper, min_samples=1, most=1, brake=promote)
    outcome = told(path)[-1]
    assert isinstance(outcome, Settled)
    assert (outcome.outcome, outcome.sqlstate) == ("not_permitted", "42501")
    assert incident.alive(boss)


def test_no_literal_of_a_statement_is_on_record(incident: Incident, path: Path, keeper: Keeper) -> None:
    incident.app("update orders set v = 41414141 where id = 1")
    incident.app().block("update orders set v = 42424242 where id = 1")
    incident.mitigate(AT_ONCE, journal=keeper, min_samples=1, most=1)
    assert len(recorded(path)) == 2
    assert not [record for record in recorded(path) if b"41414141" in record.body or b"42424242" in record.body]


def test_h28_a_dry_run_names_the_application_that_would_be_hit(incident: Incident, path: Path, keeper: Keeper) -> None:
    """Some drivers end their process at 57P01: the application is known before arming."""
    incident.app("update orders set v = 1 where id = 1", application_name="worker 3")
    incident.app().block("update orders set v = 2 where id = 1")
    incident.mitigate(AT_ONCE, journal=keeper, min_samples=1, most=1, mode="dry_run")
    intent = told(path)[0]
    assert isinstance(intent, Intent)
    assert (intent.mode, intent.action.usename, intent.application_name) == ("dry_run", "app", "worker 3")


# Where it cannot be written


@pytest.fixture
def nowhere(tmp_path: Path) -> Iterator[Keeper]:
    (tmp_path / "file").write_text("")
    kept = Keeper(tmp_path / "file" / "journal.db")
    yield kept
    kept.close()


def test_without_a_record_no_session_is_signalled(incident: Incident, holder: Client, nowhere: Keeper) -> None:
    actions, mitigator = incident.mitigate(AT_ONCE, journal=nowhere, min_samples=1, most=1)
    assert actions == []
    [objection] = mitigator.plan.decisions[0].objections
    assert objection.guard == "audit"
    assert "cannot be opened" in str(objection.objection)
    assert incident.alive(holder)


def test_a_dry_run_goes_on_without_a_record(incident: Incident, holder: Client, nowhere: Keeper) -> None:
    actions, _ = incident.mitigate(AT_ONCE, journal=nowhere, min_samples=1, most=1, mode="dry_run")
    assert [each.outcome for each in actions] == ["would_act"]
    assert incident.alive(holder)


def test_disarm_is_confirmed_once_it_is_on_the_disk(incident: Incident, nowhere: Keeper) -> None:
    """Also where another is just about to write it, and fails."""
    audit = Audit(nowhere)

    async def work() -> list[bool]:
        async with await Connection.open(incident.agent) as door:
            await audit.catch_up(door, datetime.now(UTC))
        audit.pull_brake(Disarm(datetime.now(UTC), "a release", "ann"))
        return await asyncio.gather(audit.write_down(), audit.write_down())

    assert asyncio.run(work()) == [False, False]


def test_a_disk_that_is_full_by_then_withholds_the_signal(
    incident: Incident, holder: Client, path: Path, keeper: Keeper
) -> None:
    """The journal can be read, and not written to: another process holds its lock and does not let go."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        asked = itertools.count(1)

        def brake() -> None:
            if next(asked) == 1:
                other.execute("BEGIN IMMEDIATE")

        actions, mitigator = incident.mitigate(AT_ONCE, journal=keeper, brake=brake, min_samples=1, most=1)
    [(outcome, message)] = [(each.outcome, str(each.message)) for each in actions]
    assert outcome == "withheld"
    assert "not recorded" in message
    assert "locked" in message
    assert incident.alive(holder)
    assert mitigator.actions["terminate", "idle", "withheld"] == 1
    # Once it can be written to again it is.
    actions, _ = incident.mitigate(AT_ONCE, journal=keeper, min_samples=1, most=1)
    assert [each.outcome for each in actions] == ["released"]


# Who comes after


def test_spent_budget_survives_a_restart(incident: Incident, holder: Client, path: Path, keeper: Keeper) -> None:
    limits = {"min_samples": 1, "most": 1, "max_actions_per_hour": 1}
    actions, _ = incident.mitigate(AT_ONCE, journal=keeper, **limits)
    assert [each.outcome for each in actions] == ["released"]
    other = hold(incident, 2)
    later = Keeper(path)
    actions, mitigator = incident.mitigate(AT_ONCE, journal=later, **limits)
    later.close()
    assert actions == []
    assert mitigator.refused["budget"] == 1
    assert incident.alive(other)


def test_the_cool_down_goes_on_after_a_restart(incident: Incident, holder: Client, path: Path, keeper: Keeper) -> None:
    incident.mitigate(AT_ONCE, journal=keeper, min_samples=1, most=1)
    other = hold(incident, 2)
    later = Keeper(path)
    _, mitigator = incident.mitigate(
        AT_ONCE, journal=later, min_samples=1, most=1, mode="observe", cooldown=Duration(600)
    )
    later.close()
    assert mitigator.refused["cooldown"] == 1
    assert incident.alive(other)


def test_h37_an_intent_that_no_agent_concluded_is_spent_and_not_repeated(
    incident: Incident, holder: Client, path: Path, keeper: Keeper
) -> None:
    class Crash(BaseException):
        pass

    def crash() -> None:
        raise Crash

    with pytest.raises(Crash):
        incident.mitigate(AT_ONCE, journal=keeper, brake=at_the_last_moment(crash), min_samples=1)
    assert [record.kind for record in recorded(path)] == ["intent"]
    later = Keeper(path)
    actions, mitigator = incident.mitigate(AT_ONCE, journal=later, min_samples=1, patience=0.3)
    later.close()
    assert actions == []
    assert mitigator.refused["already_tried"] == 1
    [left] = mitigator.history.actions
    assert (left.outcome, left.message) == ("error", audit_records.UNKNOWN)
    assert incident.alive(holder)


def test_a_breaker_stays_open_after_a_restart_until_an_operator_resets_it(
    incident: Incident, holder: Client, path: Path, keeper: Keeper
) -> None:
    opened = Opening(datetime.now(UTC) - timedelta(days=9), "2 blockers in a row were signalled without effect")
    write(path, incident, opened)
    actions, mitigator = incident.mitigate(AT_ONCE, journal=keeper, min_samples=1, most=1)
    assert actions == []
    assert mitigator.plan.opening == opened
    assert mitigator.standing.breaker_open
    write(path, incident, Reset(datetime.now(UTC), "seen to", "ann"))
    actions, mitigator = incident.mitigate(AT_ONCE, journal=keeper, min_samples=1, most=1)
    assert [each.outcome for each in actions] == ["released"]
    assert not mitigator.standing.breaker_open


def test_that_the_breaker_opened_is_on_record_once(
    incident: Incident, holder: Client, path: Path, keeper: Keeper
) -> None:
    incident.mitigate(AT_ONCE, journal=keeper, min_samples=1, patience=0.5, breaker=Breaker(recurrence=1))
    [opening] = told(path)
    assert isinstance(opening, Opening)
    assert "occurrence 1 within" in opening.reason
    assert incident.alive(holder)


def test_action_announced_by_a_dry_run_is_sent_once_enforced(
    incident: Incident, holder: Client, keeper: Keeper
) -> None:
    usual = {"min_samples": 1, "most": 1, "max_actions_per_hour": 1}
    actions, _ = incident.mitigate(AT_ONCE, journal=keeper, mode="dry_run", **usual)
    assert [each.outcome for each in actions] == ["would_act"]
    actions, _ = incident.mitigate(AT_ONCE, journal=keeper, mode="dry_run", **usual)
    assert actions == []
    actions, _ = incident.mitigate(AT_ONCE, journal=keeper, **usual)
    assert [each.outcome for each in actions] == ["released"]


def test_another_servers_records_are_not_this_ones(
    incident: Incident, holder: Client, path: Path, keeper: Keeper
) -> None:
    with closing(Journal.open(path)) as journal:
        kind, subject, body, at = audit_records.encode_event(Disarm(datetime.now(UTC), "elsewhere", "ann"))
        journal.append("another server", kind, subject, body, at)
    actions, _ = incident.mitigate(AT_ONCE, journal=keeper, min_samples=1, most=1)
    assert [each.outcome for each in actions] == ["released"]


def test_a_record_that_cannot_be_read_may_be_a_brake(
    incident: Incident, holder: Client, path: Path, keeper: Keeper
) -> None:
    write(path, incident, Disarm(datetime.now(UTC), "a release", "ann"))
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("update records set body = ?", [b"{}"])
    actions, mitigator = incident.mitigate(AT_ONCE, journal=keeper, min_samples=1, most=1)
    assert actions == []
    [objection] = mitigator.plan.decisions[0].objections
    assert objection.guard == "audit"
    assert "record 1 (disarm) of the journal cannot be read" in str(objection.objection)
    assert incident.alive(holder)


# What others write meanwhile


def test_a_disarm_by_another_process_is_in_time_for_the_signal(
    incident: Incident, holder: Client, path: Path, keeper: Keeper
) -> None:
    """It is written after the intent."""

    class Watching(Keeper):
        """Disarms as another process would, when it has seen the intent."""

        async def run_work(self, work):  # type: ignore[no-untyped-def]
            found = await super().run_work(work)
            if [record.kind for record in recorded(path)] == ["intent"]:
                with closing(Journal.open(path)) as journal:
                    [intent] = journal.fetch_records()
                    kind, subject, body, at = audit_records.encode_event(Disarm(datetime.now(UTC), "a release", "ann"))
                    journal.append(intent.server, kind, subject, body, at)
            return found

    watching = Watching(path)
    actions, mitigator = incident.mitigate(AT_ONCE, journal=watching, min_samples=1, most=1)
    watching.close()
    [(outcome, message)] = [(each.outcome, each.message) for each in actions]
    assert (outcome, message) == ("withheld", "kill_switch: disarmed by ann: a release")
    assert incident.alive(holder)
    actions, mitigator = incident.mitigate(AT_ONCE, journal=keeper, min_samples=1, most=1)
    assert actions == []
    assert mitigator.refused["kill_switch"] == 1


@pytest.mark.parametrize("anew", [False, True])
def test_a_disarm_is_heard_also_where_the_file_was_moved_away(
    incident: Incident, holder: Client, path: Path, keeper: Keeper, anew: bool
) -> None:
    """Who has the old one open writes on into what no other session sees."""
    write(path, incident, *(Approval(f"{place}", datetime.now(UTC), "ann") for place in range(5)))

    def strike() -> None:
        for file in path.parent.glob("journal.db*"):
            file.rename(path.parent / f"old-{file.name}")
        if anew:
            with closing(Journal.open(path)) as journal:
                kind, subject, body, at = audit_records.encode_event(Disarm(datetime.now(UTC), "a release", "ann"))
                journal.append(server, kind, subject, body, at)

    server = recorded(path)[0].server
    actions, mitigator = incident.mitigate(
        AT_ONCE, journal=keeper, brake=at_the_first_look(strike), min_samples=2, most=1
    )
    if anew:
        assert actions == []
        assert asyncio.run(mitigator.read_brakes()).kill_switch == "disarmed by ann: a release"
        assert incident.alive(holder)
    else:
        # The new file has what was done since.
        assert [each.outcome for each in actions] == ["released"]
        assert {record.kind for record in recorded(path)} == {"intent", "outcome"}


def test_brakes_hold_where_another_server_answers(incident: Incident, path: Path, keeper: Keeper) -> None:
    """Upgraded in a maintenance, it has another identifier; an arm at the new one lifts it there."""
    audit, now = Audit(keeper), datetime.now(UTC)

    async def work() -> None:
        async with await Connection.open(incident.agent) as door:
            await audit.catch_up(door, now)
            audit.pull_brake(Disarm(now, "an upgrade", "ann"))
            with closing(Journal.open(path)) as journal:
                kind, subject, body, at = audit_records.encode_event(
                    MaintenanceWindow(now, now + timedelta(hours=1), "it too", "ann")
                )
                journal.append(await door.system_identifier(), kind, subject, body, at)
            await audit.catch_up(door, now)
        async with await Connection.open(incident.agent) as door:
            door._system_identifier = "the new one"
            await audit.catch_up(door, now)
            assert "an upgrade" in (audit.brakes.kill_switch or "")
            assert audit.brakes.maintenance_until == now + timedelta(hours=1)
            anew = Audit(keeper)
            await audit.catch_up(door, now)
            await anew.catch_up(door, now)
            assert anew.brakes == audit.brakes
            with closing(Journal.open(path)) as journal:
                kind, subject, body, at = audit_records.encode_event(Arm(now, "done", "ann"))
                journal.append("the new one", kind, subject, body, at)
            await audit.catch_up(door, now)
            assert audit.brakes.kill_switch is None

    asyncio.run(work())


def test_a_server_that_without_an_identity_is_not_acted_upon(
    incident: Incident, holder: Client, path: Path, keeper: Keeper
) -> None:
    write(path, incident, Disarm(datetime.now(UTC), "a release", "ann"))
    incident.scene.admin.execute("revoke execute on function pg_control_system() from public, pg_monitor")
    actions, mitigator = incident.mitigate(AT_ONCE, journal=keeper, min_samples=1, most=1)
    assert actions == []
    [verdict] = mitigator.plan.decisions[0].objections
    assert verdict.guard == "audit"
    assert "GRANT EXECUTE ON FUNCTION pg_catalog.pg_control_system()" in str(verdict.objection)
    assert incident.alive(holder)
    actions, _ = incident.mitigate(AT_ONCE, journal=keeper, min_samples=1, most=1, mode="dry_run")
    assert [each.outcome for each in actions] == ["would_act"]


def test_a_server_that_does_not_say_its_name_this_once_keeps_its_brakes(
    incident: Incident, path: Path, keeper: Keeper
) -> None:
    """The function's row in the catalog is locked for a moment, say, just when the connection is a new one."""
    write(path, incident, Disarm(datetime.now(UTC), "a release", "ann"))
    audit, now = Audit(keeper), datetime.now(UTC)

    async def work() -> None:
        async with await Connection.open(incident.agent) as door:
            await audit.catch_up(door, now)
        async with await Connection.open(incident.agent) as door:
            with psycopg.connect(incident.scene.dsn) as locking:
                locking.execute("lock table pg_catalog.pg_proc")
                await audit.catch_up(door, now)
            assert audit.brakes.kill_switch
            assert audit.error
            await audit.catch_up(door, now)
            assert audit.brakes.kill_switch
            assert audit.error is None

    asyncio.run(work())


def test_a_disarm_right_after_another_user_has_armed_holds(incident: Incident, path: Path, keeper: Keeper) -> None:
    """The arming is read at the next poll only; what was said after it is not undone by it."""
    write(path, incident, Disarm(datetime.now(UTC), "a release", "ann"))
    audit = Audit(keeper)

    async def work() -> None:
        async with await Connection.open(incident.agent) as door:
            await audit.catch_up(door, datetime.now(UTC))
            await asyncio.to_thread(write, path, incident, Arm(datetime.now(UTC), "it is over", "ann"))
            audit.pull_brake(Disarm(datetime.now(UTC), "it is not", "bob"))
            assert await audit.write_down()
            for _ in range(2):
                await audit.catch_up(door, datetime.now(UTC))
                assert audit.brakes.kill_switch == "disarmed by bob: it is not"

    asyncio.run(work())
    assert [record.kind for record in recorded(path)] == ["disarm", "arm", "disarm"]


def test_repeated_stop_is_recorded_once(incident: Incident, path: Path, keeper: Keeper) -> None:
    audit = Audit(keeper)

    async def work() -> None:
        async with await Connection.open(incident.agent) as door:
            audit.pull_brake(Disarm(datetime.now(UTC), "first", "ann"))
            audit.pull_brake(Disarm(datetime.now(UTC), "second", "ann"))
            await audit.catch_up(door, datetime.now(UTC))
            audit.pull_brake(Disarm(datetime.now(UTC), "third", "ann"))
            assert await audit.write_down()
            await audit.catch_up(door, datetime.now(UTC))
            assert audit.brakes.kill_switch

    asyncio.run(work())
    assert [record.kind for record in recorded(path)] == ["disarm"]


def test_an_approval_by_another_process_lets_it_pass(
    incident: Incident, holder: Client, path: Path, keeper: Keeper
) -> None:
    asking = {"min_samples": 1, "most": 1, "require_approval": True}
    actions, mitigator = incident.mitigate(AT_ONCE, journal=keeper, **asking)
    assert actions == []
    [decision] = mitigator.plan.decisions
    assert decision.state == "pending_approval"
    [(now,)] = incident.scene.admin.execute("select clock_timestamp()").fetchall()
    write(path, incident, Approval(str(decision.id), now, "ann"))
    actions, _ = incident.mitigate(AT_ONCE, journal=keeper, **asking)
    assert [each.outcome for each in actions] == ["released"]
