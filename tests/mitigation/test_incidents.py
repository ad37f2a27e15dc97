"""Real incidents under real rules: who is signalled, who is released, and who must never be touched."""

import json
import logging
import time
from collections.abc import Callable

import psycopg
import pytest
from msgspec.structs import replace

from pgdoctor.demo.throwaway_server import ThrowawayServer
from pgdoctor.fields import Duration
from pgdoctor.mitigation.rules import Protect
from tests.mitigation.conftest import DDL, IDLE, SLOW, Incident, people, rule
from tests.scenes import Scene
from tests.scenes.client import wait_until

ALL_RULES = (IDLE, DDL, SLOW)

LADDER = rule("slow", ("long_query", "unindexed_scan"), "cancel_then_terminate")

TRAPPED = """
    do $$ begin
        loop
            begin perform pg_sleep(60); exception when query_canceled then null; end;
        end loop;
    end $$
"""

# Never


def test_protected_sessions_are_left_alone(incident: Incident) -> None:
    incident.scene.role("boss", "all on orders")
    holder = incident.app("update orders set v = 1 where id = 1", user="boss")
    tool = incident.app("update orders set v = 1 where id = 2", application_name="nightly")
    first = incident.app().block("update orders set v = 2 where id = 1")
    second = incident.app().block("update orders set v = 2 where id = 2")
    protect = (Protect(usename=("boss",)), Protect(application_name=("nightly",)))
    actions, mitigator = incident.mitigate(*ALL_RULES, protect=protect, patience=0.5)
    assert actions == []
    assert mitigator.refused["protected"] == 2
    assert incident.alive(holder, tool)
    assert first.busy
    assert second.busy


def test_session_outside_of_all_rules_is_left_alone(incident: Incident) -> None:
    holder = incident.app("update orders set v = 1 where id = 1")
    incident.app().block("update orders set v = 2 where id = 1")
    for names in ({"usename": ("other",)}, {"datname": ("other",)}, {"application_name": ("other",)}):
        assert incident.mitigate(replace(IDLE, **names), patience=0.3)[0] == []
    assert incident.mitigate(replace(IDLE, min_wait=Duration(60)), patience=0.3)[0] == []
    assert incident.mitigate(replace(IDLE, min_age=Duration(60)), patience=0.3)[0] == []
    assert incident.mitigate(replace(IDLE, min_blocked=2), patience=0.3)[0] == []
    assert incident.alive(holder)


def test_h27_the_holder_of_an_advisory_lock_is_left_alone(incident: Incident) -> None:
    holder = incident.app("select pg_advisory_lock(7)", autocommit=True)
    waiter = incident.app().block("select pg_advisory_lock(7)")
    actions, mitigator = incident.mitigate(IDLE, DDL, rule("slow", "long_query", "terminate"), patience=0.5)
    assert actions == []
    assert mitigator.refused["no_rule"] == 1
    assert incident.alive(holder)
    assert waiter.busy


def test_a_cancel_is_not_sent_to_an_idle_holder_of_an_advisory_lock(incident: Incident) -> None:
    incident.app("select pg_advisory_lock(7)", autocommit=True)
    incident.app().block("select pg_advisory_lock(7)")
    actions, mitigator = incident.mitigate(SLOW, patience=0.5)
    assert actions == []
    assert mitigator.refused["futile"] == 1


def test_h17_a_prepared_transaction_is_left_alone(incident: Incident) -> None:
    incident.app("update orders set v = 1 where id = 1", "prepare transaction 'half'")
    waiter = incident.app().block("update orders set v = 2 where id = 1")
    actions, mitigator = incident.mitigate(*ALL_RULES, patience=0.5)
    assert actions == []
    assert mitigator.plan.decisions[0].prepared_gid == "half"
    assert waiter.busy


def test_h3_a_commit_that_waits_for_its_standby_is_left_alone(own_server: Callable[..., ThrowawayServer]) -> None:
    """A cancel would tell its client "done" without being replicated; it is the root of what queues behind it."""
    with Scene(own_server(settings={"synchronous_standby_names": "nobody"}).dsn) as scene:
        # Only this one transaction waits for the standby.
        scene.admin.execute(f"alter database {scene.admin.info.dbname} set synchronous_commit = local")
        scene.admin.execute("set synchronous_commit = local")
        staging = people(scene)
        incident = next(staging)
        committing = incident.app("set synchronous_commit = on", "commit", "update orders set v = 1 where id = 1")
        committing.start("commit")
        scene.wait_until(lambda: "SyncRep" in committing.shown())
        waiter = incident.app().block("update orders set v = 2 where id = 1")
        every = rule("all", ("idle_in_transaction", "migration", "long_query", "explicit_lock"), "terminate")
        actions, mitigator = incident.mitigate(every, patience=0.5)
        assert actions == []
        # The statement that signals refuses it as well, where all else would be right.
        victim = mitigator.plan.decisions[0].victim
        assert victim is not None
        for signal in ("cancel", "terminate"):
            assert incident.send(signal, victim).answer == "gone"
        assert committing.busy
        assert waiter.busy
        scene.admin.execute("alter system set synchronous_standby_names = ''")
        scene.admin.execute("select pg_reload_conf()")
        committing.finish()
        waiter.finish()
        assert list(staging) == []
        assert [decision.approved for decision in mitigator.plan.decisions] == [False]


def test_h14_a_statement_that_works_concurrently_is_left_alone(incident: Incident) -> None:
    """CREATE INDEX CONCURRENTLY waits for an old reader, and an ALTER waits for it."""
    incident.app("begin isolation level repeatable read", "select * from elsewhere", application_name="old reader")
    building = incident.app(autocommit=True).block("create index concurrently on orders (v)")
    waiter = incident.app().block("alter table orders add column note text")
    actions, mitigator = incident.mitigate(*ALL_RULES, patience=0.5)
    assert actions == []
    assert mitigator.refused["concurrently"] == 1
    # It waits for the old reader, or first for the bystander that sleeps: both are older.
    assert mitigator.refused["snapshot_wait"] == 1
    assert building.busy
    assert waiter.busy


def test_h43_a_deadlock_is_left_to_the_server(incident: Incident) -> None:
    incident.scene.admin.execute("alter role app set deadlock_timeout = '20s'")
    first = incident.app("update orders set v = 1 where id = 1")
    second = incident.app("update orders set v = 1 where id = 2").block("update orders set v = 2 where id = 1")
    first.block("update orders set v = 2 where id = 2")
    third = incident.app().block("update orders set v = 3 where id = 1")
    every = rule("all", ("idle_in_transaction", "migration", "long_query", "explicit_lock"), "terminate")
    actions, _ = incident.mitigate(every, patience=0.5)
    assert actions == []
    assert all(client.busy for client in (first, second, third))


def test_h9_no_session_is_signalled_by_an_agent_that_cannot_see(incident: Incident) -> None:
    blind = incident.scene.role("blind", "pg_signal_backend")
    holder = incident.app("update orders set v = 1 where id = 1")
    incident.app().block("update orders set v = 2 where id = 1")
    actions, mitigator = incident.mitigate(*ALL_RULES, dsn=blind, patience=0.5)
    assert actions == []
    assert incident.alive(holder)
    assert all(not decision.approved for decision in mitigator.plan.decisions)


def test_h16_only_the_common_root_is_signalled(incident: Incident) -> None:
    """Two readers in front of an ALTER: ending one of them frees no session."""
    readers = [incident.app("select * from orders") for _ in range(2)]
    incident.app().block("alter table orders add column note text")
    actions, mitigator = incident.mitigate(IDLE, patience=0.5)
    assert actions == []
    assert mitigator.refused["min_blocked"] == 2
    assert incident.alive(*readers)


# What each mode does


def test_off_and_observe_and_dry_run_touch_no_session(incident: Incident, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "pgdoctor.mitigation")
    holder = incident.app("update orders set v = 1 where id = 1")
    incident.app().block("update orders set v = 2 where id = 1")
    _, off = incident.mitigate(*ALL_RULES, mode="off", patience=0.3)
    assert off.plan.decisions == ()
    _, observe = incident.mitigate(*ALL_RULES, mode="observe", patience=0.3)
    assert len(observe.plan.decisions) == 1
    assert observe.refused["persistence"] == 1
    assert caplog.records == []
    actions, dry = incident.mitigate(*ALL_RULES, mode="dry_run", patience=0.5)
    assert [(action.victim.pid, action.signal, action.outcome) for action in actions] == [
        (holder.pid, "terminate", "would_act")
    ]
    assert dry.actions["terminate", "idle", "would_act"] == 1
    assert sum(dry.actions.values()) == 1
    assert incident.alive(holder)


def test_h49_a_dry_run_intends_what_enforce_does(incident: Incident, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "pgdoctor.mitigation")
    incident.app("select * from orders")
    incident.app().block("alter table orders add column note text")
    incident.app().block("select * from orders")
    incident.mitigate(*ALL_RULES, mode="dry_run", patience=0.5)
    incident.mitigate(*ALL_RULES, patience=0.5)
    intents = [vars(record) for record in caplog.records if record.getMessage() == "mitigation intent"]
    assert [intent["mode"] for intent in intents] == ["dry_run", "enforce"]
    for part in ("decision", "pid", "identity", "rule", "class", "signal", "frees_at_once", "guards_passed"):
        assert intents[0][part] == intents[1][part]


def test_with_a_brake_on_no_session_is_signalled(incident: Incident) -> None:
    holder = incident.app("update orders set v = 1 where id = 1")
    waiter = incident.app().block("update orders set v = 2 where id = 1")
    actions, mitigator = incident.mitigate(*ALL_RULES, brake=lambda: "somebody said stop", patience=0.3)
    assert actions == []
    assert mitigator.refused["kill_switch"] == 1
    assert incident.alive(holder)
    assert waiter.busy


def test_a_brake_that_is_pulled_after_the_decision_is_in_time(incident: Incident) -> None:
    """It is asked again right before the signal."""
    holder = incident.app("update orders set v = 1 where id = 1")
    incident.app().block("update orders set v = 2 where id = 1")
    asked: list[int] = []

    def brake() -> str | None:
        asked.append(len(asked))
        return "somebody said stop" if len(asked) > 1 else None

    actions, _ = incident.mitigate(replace(IDLE, min_wait=Duration(0)), brake=brake, min_samples=1, most=1)
    [(outcome, message)] = [(each.outcome, each.message) for each in actions]
    assert (outcome, message) == ("withheld", "kill_switch: somebody said stop")
    assert incident.alive(holder)


def test_h36_agent_stopped_between_decision_and_signal_does_not_signal(incident: Incident) -> None:
    holder = incident.app("update orders set v = 1 where id = 1")
    incident.app().block("update orders set v = 2 where id = 1")
    asked: list[int] = []

    def stop() -> None:
        asked.append(len(asked))
        if len(asked) == 2:
            time.sleep(5.1)

    quick = replace(IDLE, min_wait=Duration(0))
    actions, _ = incident.mitigate(quick, brake=stop, min_samples=1, most=1, max_sample_age=Duration(5))
    [(outcome, message)] = [(each.outcome, str(each.message)) for each in actions]
    assert outcome == "withheld"
    assert message.startswith("sample_age: the snapshot is 5")
    assert incident.alive(holder)


# What each action does


def test_h1_an_idle_transaction_is_terminated_and_its_waiter_gets_on(
    incident: Incident, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "pgdoctor.mitigation")
    holder = incident.app("update orders set v = 4141 where id = 1")
    waiter = incident.app().block("update orders set v = 4242 where id = 1")
    actions, mitigator = incident.mitigate(*ALL_RULES, patience=0.5)
    assert [(action.victim.pid, action.signal, action.outcome) for action in actions] == [
        (holder.pid, "terminate", "released")
    ]
    assert actions[0].seconds is not None
    waiter.finish()
    # It lets go of its locks before it is gone.
    wait_until(lambda: not incident.alive(holder), what="the holder has ended")
    assert mitigator.actions["terminate", "idle", "released"] == 1
    assert sum(mitigator.actions.values()) == 1
    intent, outcome = (vars(record) for record in caplog.records)
    assert (intent["msg"], outcome["msg"]) == ("mitigation intent", "mitigation outcome")
    assert intent["pid"] == outcome["pid"] == holder.pid
    assert intent["decision"] == outcome["decision"]
    assert (intent["rule"], intent["class"], intent["usename"]) == ("idle", "idle_in_transaction", "app")
    assert intent["frees_at_once"] == [waiter.pid]
    assert "persistence" in intent["guards_passed"]
    assert (outcome["outcome"], outcome["sqlstate"]) == ("released", None)
    assert "4141" not in json.dumps([intent, outcome], default=str)
    assert "4242" not in json.dumps([intent, outcome], default=str)


def test_h13_a_queued_alter_is_cancelled_and_the_reader_in_front_of_it_survives(incident: Incident) -> None:
    reading = incident.app("select * from orders")
    altering = incident.app().block("alter table orders add column note text")
    readers = [incident.app().block("select * from orders where id = 1") for _ in range(3)]
    actions, mitigator = incident.mitigate(*ALL_RULES, patience=0.5)
    assert [(action.victim.pid, action.signal, action.outcome) for action in actions] == [
        (altering.pid, "cancel", "released")
    ]
    for client in readers:
        client.finish()
    with pytest.raises(psycopg.errors.QueryCanceled):
        altering.finish()
    reading.run("select 1")
    assert mitigator.refused["cheaper_cut"] == 1


def test_the_reader_is_spared_also_while_the_alter_is_not_due(incident: Incident) -> None:
    """The reader's waiter has waited longer than those of the ALTER: its own rule is met first."""
    reading = incident.app("select * from orders")
    altering = incident.app().block("alter table orders add column note text")
    incident.app().block("select * from orders where id = 1")
    actions, _ = incident.mitigate(IDLE, replace(DDL, min_wait=Duration(1)), patience=3)
    assert [(action.victim.pid, action.signal) for action in actions] == [(altering.pid, "cancel")]
    assert incident.alive(reading)


def test_a_slow_statement_is_cancelled_and_its_connection_stays(incident: Incident) -> None:
    holder = incident.app("update orders set v = 1 where id = 1").start("select pg_sleep(60)")
    waiter = incident.app().block("update orders set v = 2 where id = 1")
    actions, _ = incident.mitigate(*ALL_RULES, patience=0.5)
    assert [(action.victim.pid, action.signal, action.outcome) for action in actions] == [
        (holder.pid, "cancel", "released")
    ]
    waiter.finish()
    with pytest.raises(psycopg.errors.QueryCanceled):
        holder.finish()
    holder.run("rollback")
    holder.run("select 1")


def test_h2_a_cancel_inside_a_savepoint_is_never_called_a_release_and_escalates(incident: Incident) -> None:
    """The cancel aborts only down to the savepoint: the outer transaction keeps its row locks."""
    holder = incident.app("update orders set v = 1 where id = 1", "savepoint s").start("select pg_sleep(60)")
    waiter = incident.app().block("update orders set v = 2 where id = 1")
    actions, mitigator = incident.mitigate(LADDER, patience=0.5)
    assert [(action.victim.pid, action.signal, action.outcome) for action in actions] == [
        (holder.pid, "cancel", "ineffective"),
        (holder.pid, "terminate", "released"),
    ]
    assert actions[1].classification == "idle_in_transaction"
    assert mitigator.actions["cancel", "slow", "released"] == 0
    waiter.finish()


def test_h12_a_cancel_that_is_trapped_is_sent_once(incident: Incident, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pgdoctor.mitigation.plan.VERIFY_SECONDS", 1.0)
    holder = incident.app("update orders set v = 1 where id = 1").start(TRAPPED)
    waiter = incident.app().block("update orders set v = 2 where id = 1")
    actions, mitigator = incident.mitigate(*ALL_RULES, patience=0.5)
    assert [(action.signal, action.outcome) for action in actions] == [("cancel", "ineffective")]
    assert mitigator.refused["already_tried"] == 1
    assert holder.busy
    assert waiter.busy


def test_a_cancel_that_is_trapped_escalates_where_the_rule_says_so(incident: Incident) -> None:
    incident.app("update orders set v = 1 where id = 1").start(TRAPPED)
    waiter = incident.app().block("update orders set v = 2 where id = 1")
    actions, _ = incident.mitigate(LADDER, patience=0.5)
    assert [(action.signal, action.outcome) for action in actions] == [
        ("cancel", "ineffective"),
        ("terminate", "released"),
    ]
    waiter.finish()


def test_h11_a_client_that_stopped_sending_is_not_cancelled_but_terminated(incident: Incident) -> None:
    """COPY FROM STDIN does not look at a cancel before the client sends something."""
    with psycopg.connect(
        incident.scene.client(user="app")._connection.info.dsn, password="secret of a scene"
    ) as copying:
        copying.execute("select 1")
        copying.pgconn.exec_(b"copy orders from stdin")
        waiter = incident.app().block("lock table orders in share mode")
        assert incident.mitigate(SLOW, patience=0.5)[0] == []
        actions, _ = incident.mitigate(LADDER, patience=0.5)
        assert [(action.signal, action.outcome) for action in actions] == [("terminate", "released")]
        waiter.finish()
        copying.close()


def test_h8_a_superusers_session_is_not_tried_and_the_other_one_is_released(
    incident: Incident,
) -> None:
    boss = incident.scene.client("update orders set v = 1 where id = 1", "update orders set v = 1 where id = 2")
    for place in (1, 2):
        incident.app().block(f"update orders set v = 2 where id = {place}")
    holder = incident.app("update orders set v = 1 where id = 3")
    waiter = incident.app().block("update orders set v = 2 where id = 3")
    actions, mitigator = incident.mitigate(*ALL_RULES, patience=0.5)
    assert [(action.victim.pid, action.outcome, action.sqlstate) for action in actions] == [
        (holder.pid, "released", None),
    ]
    assert mitigator.refused["not_permitted"] == 1
    assert incident.alive(boss)
    waiter.finish()


def test_h16b_no_session_is_signalled_while_a_second_session_may_hold_the_row(incident: Incident) -> None:
    """Of two that lock a row shared, the server names one at a time (measured): ending that one may free no session."""
    first = incident.app("select from orders where id = 1 for share")
    second = incident.app("select from orders where id = 1 for share")
    waiter = incident.app().block("update orders set v = 2 where id = 1")
    actions, mitigator = incident.mitigate(IDLE, patience=0.5)
    assert actions == []
    assert mitigator.refused["release_uncertain"] == 1
    assert waiter.busy, waiter.finish()
    assert incident.alive(first)
    second.run("commit")
    actions, _ = incident.mitigate(IDLE, patience=0.5)
    assert [(action.victim.pid, action.outcome) for action in actions] == [(first.pid, "released")]
    waiter.finish()


def test_the_budget_ends_it(incident: Incident) -> None:
    for place in (1, 2, 3):
        incident.app(f"update orders set v = 1 where id = {place}")
        incident.app().block(f"update orders set v = 2 where id = {place}")
    actions, mitigator = incident.mitigate(*ALL_RULES, max_actions_per_hour=2, patience=0.3)
    assert [action.outcome for action in actions] == ["released", "released"]
    assert mitigator.refused["budget"] == 1


def test_without_the_right_to_signal_nothing_happens_and_it_is_said_once(incident: Incident) -> None:
    """REVOKE pg_signal_backend is the emergency brake, also for a connection that is open."""
    watching = incident.scene.role("watcher", "pg_monitor")
    holder = incident.app("update orders set v = 1 where id = 1")
    incident.app().block("update orders set v = 2 where id = 1")
    actions, mitigator = incident.mitigate(*ALL_RULES, dsn=watching, patience=0.5)
    assert actions == []
    assert mitigator.refused["may_signal"] == 1
    assert incident.alive(holder)
