"""H66: a terminate is about a transaction, whatever it runs meanwhile; a cancel is about a statement."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from msgspec.structs import replace

from pgdoctor.enforcement.mitigator import Mitigator
from pgdoctor.fields import Duration
from pgdoctor.mitigation.history import Action, Approval, History, decision_id, with_poll
from pgdoctor.mitigation.rules import Mitigation
from pgdoctor.postgres.collect import Collector
from pgdoctor.postgres.connection import Connection
from pgdoctor.postgres.server_watch import ServerWatch
from tests.building import NOW, ago, lock
from tests.mitigation.build import BOTH, DDL, END_IDLE, IDLE, about, ddl, decide, idle, reader, reasons, settings
from tests.mitigation.conftest import IDLE as FORGOTTEN
from tests.mitigation.conftest import Incident, rule
from tests.scenes import Client

HELD = (lock(IDLE, "AccessExclusiveLock", granted=True),)
CHATTY = idle(state_change=ago(1), query_start=ago(1), locks=HELD)
LATER = idle(state_change=ago(0.2), query_start=ago(0.2), locks=HELD)
NEXT = idle(state_change=ago(0.2), query_start=ago(0.2), xact_start=ago(0.2), locks=HELD)


def victim(session_facts):
    found = about(decide(session_facts, reader(31, blockers=(IDLE,)), by=settings(END_IDLE)), IDLE).victim
    assert found is not None
    return found


THRICE = settings(END_IDLE, min_samples=3)


def judged(facts, history, by=THRICE):
    return about(decide(facts, reader(31, blockers=(IDLE,)), by=by, history=history), IDLE)


def test_polls_at_one_transaction_count_across_statements():
    history = with_poll(with_poll(History(), [victim(CHATTY)], NOW), [victim(idle())], NOW)
    assert judged(LATER, history).approved
    assert reasons(judged(LATER, with_poll(History(), [victim(CHATTY)], NOW))) == {"persistence"}


def test_polls_at_another_transaction_do_not_count():
    history = with_poll(with_poll(History(), [victim(CHATTY)], NOW), [victim(LATER)], NOW)
    assert reasons(judged(NEXT, history)) == {"persistence"}


def test_a_poll_that_did_not_find_it_fit_ends_the_count():
    history = with_poll(with_poll(with_poll(History(), [victim(CHATTY)], NOW), [], NOW), [victim(CHATTY)], NOW)
    assert history.transaction_samples == {victim(CHATTY).transaction: 1}


def test_outside_of_a_transaction_the_polls_are_at_one_state():
    free = replace(victim(CHATTY), xact_start=None)
    history = with_poll(with_poll(History(), [free], NOW), [free], NOW)
    assert history.count_polls(free, "terminate") == 2
    assert history.count_polls(replace(free, state_change=NOW), "terminate") == 0


def test_polls_at_a_cancel_are_at_one_statement():
    history = with_poll(with_poll(History(), [victim(CHATTY)], NOW), [victim(CHATTY)], NOW)
    assert history.count_polls(victim(CHATTY), "cancel") == 2
    assert history.count_polls(victim(LATER), "cancel") == 0


def test_a_terminate_has_one_name_in_its_transaction_and_a_cancel_in_its_statement():
    assert decision_id(victim(CHATTY), "terminate") == decision_id(victim(LATER), "terminate")
    assert decision_id(victim(CHATTY), "terminate") != decision_id(victim(NEXT), "terminate")
    assert decision_id(victim(CHATTY), "cancel") != decision_id(victim(LATER), "cancel")


def test_an_approved_terminate_stays_approved_in_its_transaction_alone():
    by = settings(END_IDLE, require_approval=True)
    history = History(approvals=(Approval(decision_id(victim(CHATTY), "terminate"), ago(1), "ann"),))
    assert judged(LATER, history, by).approved
    assert reasons(judged(NEXT, history, by)) == {"approval"}


@pytest.mark.parametrize(("outcome", "guard"), [("released", "already_tried"), ("would_act", "already_announced")])
def test_a_terminate_is_tried_once_in_a_transaction(outcome, guard):
    done = Action(victim(CHATTY), "terminate", "idle", "idle_in_transaction", None, (), ago(100), outcome=outcome)
    by = settings(END_IDLE)
    assert reasons(judged(LATER, History(actions=(done,)), by)) == {guard}
    assert guard not in reasons(judged(NEXT, History(actions=(done,)), by))


def test_a_cancel_of_an_earlier_statement_says_nothing_against_the_next():
    before = about(decide(), DDL).victim
    assert before is not None
    done = Action(before, "cancel", "ddl", "migration", None, (), ago(100), outcome="released")
    sessions = [idle(), ddl(query_start=ago(2), state_change=ago(2)), reader(31)]
    decision = about(decide(*sessions, by=BOTH, history=History(actions=(done,))), DDL)
    assert "already_tried" not in reasons(decision)


# On a real server.


@contextmanager
def chatting(client: Client, pause: float) -> Iterator[None]:
    """The client says something all the time, in the transaction that it has open."""
    enough = threading.Event()

    def talk() -> None:
        try:
            while not enough.wait(pause):
                client.run("select 1")
        except Exception:
            return

    thread = threading.Thread(target=talk, daemon=True)
    thread.start()
    try:
        yield
    finally:
        enough.set()
        thread.join()


@pytest.mark.parametrize("pause", [0.02, 0.1])
def test_h66_a_chatty_blocker_is_ended_in_its_transaction(incident: Incident, pause: float) -> None:
    holder = incident.app("update orders set v = 1 where id = 1")
    waiter = incident.app(autocommit=True).block("update orders set v = 2 where id = 1")
    with chatting(holder, pause):
        [action], _ = incident.mitigate(FORGOTTEN, min_samples=3, patience=60)
    assert (action.victim.pid, action.signal, action.outcome) == (holder.pid, "terminate", "released")
    waiter.finish()


def test_h66_a_cancel_stays_bound_to_its_statement(incident: Incident) -> None:
    """A rule that cancels finds no statement of a chatty blocker that lasts for three looks."""
    holder = incident.app("update orders set v = 1 where id = 1")
    incident.app().block("update orders set v = 2 where id = 1")
    cancel = rule("cancel", ("idle_in_transaction", "long_query"), "cancel")
    with chatting(holder, 0.02):
        actions, _ = incident.mitigate(cancel, min_samples=3, patience=1.5)
    assert actions == []
    assert incident.alive(holder)


def test_h66_a_blocker_that_is_active_in_every_second_poll_is_ended(incident: Incident) -> None:
    holder = incident.app("update orders set v = 1 where id = 1")
    waiter = incident.app(autocommit=True).block("update orders set v = 2 where id = 1")
    rules = (FORGOTTEN, rule("slow", "long_query", "cancel", min_wait=Duration(3600)))
    mitigator = Mitigator(
        Mitigation(mode="enforce", cooldown=Duration(0), min_samples=3, allow_short_waits=True, rules=rules)
    )

    async def poll() -> list[str]:
        classes = []
        async with await Connection.open(incident.agent) as door:
            watch = ServerWatch(Collector(door))
            while len(classes) < 8 and not mitigator.history.actions:
                if is_busy := len(classes) % 2 == 1:
                    holder.start("select pg_sleep(0.4)")
                diagnosis = await watch.diagnose_server()
                classes.append(diagnosis.blockers[0].classification)
                await mitigator.consider(diagnosis, door, watch.read_at)
                if is_busy and not mitigator.history.actions:
                    holder.finish()
        return classes

    classes = asyncio.run(poll())
    assert classes == [*("idle_in_transaction", "long_query") * 2, *("idle_in_transaction",) * 3]
    [action] = mitigator.history.actions
    assert (action.victim.pid, action.signal) == (holder.pid, "terminate")
    waiter.finish()
