"""What a mitigator counts and keeps, and what it does when the server goes away under its hands."""

import asyncio
import itertools
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import psycopg
import pytest
from msgspec.structs import replace

from pgdoctor.diagnosis.diagnose import diagnose
from pgdoctor.enforcement.action_log import ActionLog
from pgdoctor.enforcement.mitigator import Mitigator
from pgdoctor.errors import Unreachable
from pgdoctor.fields import Duration
from pgdoctor.mitigation.circumstances import AgentState
from pgdoctor.mitigation.decision import REASONS
from pgdoctor.mitigation.history import Outcome
from pgdoctor.mitigation.plan import Plan, make_plan
from pgdoctor.mitigation.rules import Breaker, Mitigation, Mode
from pgdoctor.observer.observer import Observer
from pgdoctor.postgres import offload
from pgdoctor.postgres.collect import Collector
from pgdoctor.postgres.connection import Connection
from tests.building import ago, session
from tests.hammer import hammering, idling, running
from tests.mitigation.build import BOTH, DDL, IDLE, READERS, ddl, decide, diagnosis, idle, reader, settings
from tests.mitigation.conftest import IDLE as END_IDLE
from tests.mitigation.conftest import SLOW, Incident

AT_ONCE = Mitigation(
    mode="enforce", min_samples=1, allow_short_waits=True, rules=(replace(END_IDLE, min_wait=Duration(0)),)
)


def consider(mitigator: Mitigator, *looks: object) -> None:
    """Looks that need no server, since nothing is sent."""
    for look in looks:
        asyncio.run(mitigator.consider(look, None))  # type: ignore[arg-type]


def test_everything_that_may_be_counted_is_there_as_nought() -> None:
    mitigator = Mitigator(BOTH)
    assert set(mitigator.actions) == {
        (signal, rule, outcome)
        for signal in ("cancel", "terminate")
        for rule in ("idle", "ddl")
        for outcome in get_args(Outcome)
    }
    assert set(mitigator.refused) == set(REASONS)
    assert set(mitigator.actions.values()) == set(mitigator.refused.values()) == {0}


def test_a_refusal_is_counted_once_for_a_transaction() -> None:
    mitigator = Mitigator(settings(mode="observe"))
    consider(mitigator, diagnosis(), diagnosis(), diagnosis())
    assert mitigator.refused["no_rule"] == 2
    consider(mitigator, diagnosis(session(1)), diagnosis(idle(), reader(31, blockers=(IDLE,))))
    assert mitigator.refused["no_rule"] == 3


def test_a_dry_run_decides_once_for_a_statement() -> None:
    mitigator = Mitigator(replace(BOTH, mode="dry_run"))
    consider(mitigator, *[diagnosis()] * 5)
    assert mitigator.actions["cancel", "ddl", "would_act"] == 1
    assert sum(mitigator.actions.values()) == 1
    assert mitigator.plan.decisions[0].pid == DDL
    assert mitigator.refused["already_announced"] == 1


def test_recurring_fingerprint_stays_stopped() -> None:
    mitigator = Mitigator(replace(BOTH, mode="dry_run", breaker=Breaker(recurrence=1)))
    consider(mitigator, diagnosis(), diagnosis(session(1)))
    assert not any(mitigator.actions.values())
    assert [each.rehearsed for each in mitigator.history.stops] == [True, True]
    mitigator.reconfigure(replace(BOTH, mode="dry_run"))
    consider(mitigator, diagnosis())
    assert "recurrence" in {verdict.guard for verdict in mitigator.plan.decisions[0].objections}
    assert not any(mitigator.actions.values())


def test_after_armed_until_enforce_is_a_dry_run(incident: Incident) -> None:
    holder = incident.app("update orders set v = 1 where id = 1")
    incident.app().block("update orders set v = 2 where id = 1")
    lapsed = {"armed_until": datetime.now(UTC) - timedelta(minutes=1), "min_samples": 1}
    actions, _ = incident.mitigate(replace(END_IDLE, min_wait=Duration(0)), **lapsed)
    assert [each.outcome for each in actions] == ["would_act"]
    assert incident.alive(holder)
    actions, _ = incident.mitigate(replace(END_IDLE, min_wait=Duration(0)), min_samples=1)
    assert [each.outcome for each in actions] == ["released"]


def test_the_same_kind_of_incident_has_a_budget_of_its_own() -> None:
    mitigator = Mitigator(replace(BOTH, mode="dry_run", max_per_fingerprint_per_hour=1))
    again = diagnosis(idle(), ddl(query_start=ago(30), state_change=ago(30)), *(reader(pid) for pid in READERS))
    consider(mitigator, diagnosis(), again)
    assert mitigator.actions["cancel", "ddl", "would_act"] == 1
    assert mitigator.refused["budget"] == 1


def test_another_poll_is_urgent_only_where_a_decision_waits_for_nothing_else() -> None:
    mitigator = Mitigator(replace(BOTH, min_samples=3), armed=False)
    consider(mitigator, diagnosis())
    assert mitigator.needs_a_look
    consider(mitigator, diagnosis(), diagnosis())
    assert not mitigator.needs_a_look, "it is due"
    for unfit in (replace(BOTH, rules=()), replace(BOTH, min_samples=3, mode="observe")):
        mitigator = Mitigator(unfit)
        consider(mitigator, diagnosis())
        assert not mitigator.needs_a_look


def test_other_settings_keep_what_was_counted_and_done() -> None:
    mitigator = Mitigator(replace(BOTH, mode="dry_run"))
    consider(mitigator, diagnosis())
    before = mitigator.history
    mitigator.reconfigure(Mitigation(mode="dry_run"))
    assert mitigator.actions["cancel", "ddl", "would_act"] == 1
    assert mitigator.history is before


def test_a_refusal_is_reported_when_it_changes(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "pgdoctor.mitigation")
    mitigator = Mitigator(settings(*BOTH.rules, mode="dry_run"))
    shown = diagnosis(idle(application_name="pgdoctor"), reader(31, blockers=(IDLE,)))
    consider(mitigator, shown, shown)
    [record] = caplog.records
    assert record.getMessage() == "mitigation refused"
    assert set(vars(record)["objections"]) == {"own_session"}


@pytest.mark.parametrize(
    ("amid", "limits", "said"),
    [
        (AgentState(kill_switch="somebody said stop"), {}, {"kill_switch", "persistence"}),
        (AgentState(superuser=True), {}, {"superuser", "persistence"}),
        (AgentState(), {"max_actions_per_hour": 0}, {"budget", "persistence"}),
        (AgentState(), {}, None),
    ],
)
def test_a_brake_is_reported_once_nothing_but_it_is_left_and_what_only_takes_time_is_not(
    caplog: pytest.LogCaptureFixture, amid: AgentState, limits: dict[str, int], said: set[str] | None
) -> None:
    caplog.set_level("INFO", "pgdoctor.mitigation")
    telling, by = ActionLog(), settings(BOTH.rules[0], min_samples=5, **limits)
    for seconds in (0.0, 1.0, 60.0, 61.0):
        looked = decide(idle(), reader(31, blockers=(IDLE,), seconds=seconds), by=by, amid=amid)
        telling.record_refusals(looked, aloud=True)
    assert [set(vars(each)["objections"]) for each in caplog.records] == ([said] if said else [])


def test_where_the_server_is_gone_nothing_is_decided(incident: Incident) -> None:
    incident.app("update orders set v = 1 where id = 1")
    incident.app().block("update orders set v = 2 where id = 1")
    mitigator = Mitigator(AT_ONCE)

    async def work() -> None:
        async with await Connection.open(incident.agent) as door:
            seen = diagnose(await Collector(door).fetch_snapshot())
            door.abandon()
            with pytest.raises(Unreachable):
                await mitigator.consider(seen, door)

    asyncio.run(work())
    assert mitigator.history.actions == ()


@pytest.mark.parametrize("mode", ["observe", "off", "dry_run"])
def test_settings_that_come_between_decision_and_signal_hold(incident: Incident, mode: Mode) -> None:
    mitigator = struck(incident, lambda each, _: each.reconfigure(replace(AT_ONCE, mode=mode)))
    assert mitigator.actions["terminate", "idle", "withheld"] == 1
    [action] = mitigator.history.actions
    assert action.message == f"the mode is {mode} now"


@pytest.mark.parametrize(
    ("strike", "said"),
    [
        (lambda each: each.disarm("hands off", "ann"), "kill_switch: disarmed by ann: hands off"),
        (lambda each: each.reconfigure(replace(AT_ONCE, rules=())), "the settings have changed"),
    ],
)
def test_record_during_the_last_plan_is_in_time_for_the_signal(
    incident: Incident, monkeypatch: pytest.MonkeyPatch, strike: Callable[[Mitigator], None], said: str
) -> None:
    """Of a convoy it is made in a thread, and takes so long that an order over HTTP is answered meanwhile."""
    holder = incident.app("update orders set v = 1 where id = 1")
    incident.app().block("update orders set v = 2 where id = 1")
    mitigator, made = Mitigator(AT_ONCE), itertools.count(1)

    async def work() -> None:
        loop = asyncio.get_running_loop()

        def slowly(*making: Any) -> Plan:
            found = make_plan(*making)
            if next(made) == 2:
                struck = threading.Event()
                loop.call_soon_threadsafe(lambda: (strike(mitigator), struck.set()))
                assert struck.wait(10)
            return found

        monkeypatch.setattr("pgdoctor.enforcement.mitigator.make_plan", slowly)
        monkeypatch.setattr(offload, "_MANY_SESSIONS", 0)
        async with await Connection.open(incident.agent) as door:
            await mitigator.consider(diagnose(await Collector(door).fetch_snapshot()), door)

    asyncio.run(work())
    assert [(each.outcome, each.message) for each in mitigator.history.actions] == [("withheld", said)]
    assert incident.alive(holder)


def struck(
    incident: Incident, strike: Callable[[Mitigator, Connection], None], *, at: int = 2, again: bool = False
) -> Mitigator:
    """A mitigator that something happens to between its intent and its signal: when it asks for the brake again."""
    incident.app("update orders set v = 1 where id = 1")
    incident.app().block("update orders set v = 2 where id = 1")

    async def work() -> Mitigator:
        async with await Connection.open(incident.agent) as door:
            asked = itertools.count(1)

            async def brake() -> None:
                if next(asked) == at:
                    strike(mitigator, door)

            mitigator = Mitigator(AT_ONCE, brake=brake)
            seen = diagnose(await Collector(door).fetch_snapshot())
            with suppress(asyncio.CancelledError):
                await asyncio.create_task(mitigator.consider(seen, door))
            if again:
                async with await Connection.open(incident.agent) as other:
                    await mitigator.consider(seen, other)
            return mitigator

    return asyncio.run(work())


def test_where_the_server_goes_away_the_outcome_is_an_error_and_it_is_not_tried_again(incident: Incident) -> None:

    def lose_at_the_signal(mitigator: Mitigator, door: Connection) -> None:
        share = mitigator._share_intent

        async def share_and_lose(*arguments: Any) -> str | None:
            failed = await share(*arguments)
            door.abandon()
            return failed

        mitigator._share_intent = share_and_lose  # type: ignore[method-assign]

    mitigator = struck(incident, lose_at_the_signal, again=True)
    assert mitigator.actions["terminate", "idle", "error"] == 1
    assert sum(mitigator.actions.values()) == 1
    assert mitigator.refused["already_tried"] == 1


def test_where_the_server_goes_away_before_all_can_be_reported_nothing_was_sent(incident: Incident) -> None:
    mitigator = struck(incident, lambda _, door: door.abandon())
    assert mitigator.actions["terminate", "idle", "withheld"] == 1
    assert sum(mitigator.actions.values()) == 1


def test_a_mitigator_that_is_cancelled_says_what_became_of_it(
    incident: Incident, caplog: pytest.LogCaptureFixture
) -> None:
    """SIGTERM between intent and outcome: the signal may have been sent."""
    caplog.set_level("INFO", "pgdoctor.mitigation")

    def cancel(*_: object) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()

    mitigator = struck(incident, cancel)
    # The driver may log that its pipeline was broken off.
    said = [record.getMessage() for record in caplog.records if record.name == "pgdoctor.mitigation"]
    assert said == ["mitigation intent", "mitigation outcome"]
    assert mitigator.actions["terminate", "idle", "error"] == 1


@pytest.mark.parametrize("pause", [running, idling])
def test_h15_momentary_holder_of_a_hot_row_is_not_signalled(
    incident: Incident, pause: Callable[[psycopg.Connection], None]
) -> None:
    rules = [replace(each, min_wait=Duration(0), min_age=Duration(0)) for each in (END_IDLE, SLOW)]
    with hammering(incident.app_dsn, 8, pause):
        for _ in range(5):
            actions, mitigator = incident.mitigate(*rules, min_samples=1)
            assert actions == []
            assert not any(mitigator.actions.values())


def test_contested_row_needs_two_polls(incident: Incident) -> None:
    incident.app("update orders set v = 1 where id = 1").start("select pg_sleep(60)")
    for _ in range(3):
        incident.app().block("update orders set v = 2 where id = 1")
    quick = replace(SLOW, min_wait=Duration(0), min_session_age=Duration(0), min_state_age=Duration(0))
    mitigator = Mitigator(Mitigation(mode="enforce", min_samples=1, allow_short_waits=True, rules=(quick,)))

    async def looks() -> list[bool]:
        memory = Observer()
        async with await Connection.open(incident.agent) as door:
            acted = []
            for _ in range(2):
                await mitigator.consider(memory.diagnose_snapshot(await Collector(door).fetch_snapshot()), door)
                acted.append(mitigator.history.under_way is not None)
            return acted

    assert asyncio.run(looks()) == [False, True]


def test_h15_lasting_holder_of_a_contested_row_is_signalled(incident: Incident) -> None:
    incident.app("update orders set v = 1 where id = 1").start("select pg_sleep(60)")
    for _ in range(3):
        incident.app().block("update orders set v = 2 where id = 1")
    actions, _ = incident.mitigate(replace(SLOW, min_wait=Duration(0)), min_samples=1, most=1)
    assert [(each.signal, each.outcome) for each in actions] == [("cancel", "released")]
