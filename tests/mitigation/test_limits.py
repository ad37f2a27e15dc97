"""Whatever stops all of it at once: each brake, with the one circumstance that puts it on."""

from datetime import timedelta

import pytest
from msgspec.structs import replace

from pgdoctor.diagnosis.diagnose import diagnose
from pgdoctor.fields import Duration, Window
from pgdoctor.mitigation import breaker
from pgdoctor.mitigation.budgets import BUDGETS, budgets_left, compute_budgets
from pgdoctor.mitigation.circumstances import AgentState, find_lapse, mode_in_force
from pgdoctor.mitigation.decision import REASONS
from pgdoctor.mitigation.history import (
    Action,
    Approval,
    History,
    Opening,
    Outcome,
    Reset,
    ServerLoad,
    in_mode,
    with_action,
    with_poll,
)
from pgdoctor.mitigation.plan import intend_action, make_plan
from pgdoctor.mitigation.rules import Breaker, Mitigation, Rule
from pgdoctor.model.identity import Identity
from pgdoctor.model.snapshot import CommandProgress, Session
from tests.building import NOW, advisory, ago, lock, session, snapshot
from tests.mitigation.build import (
    BOTH,
    CANCEL_DDL,
    DDL,
    END_IDLE,
    IDLE,
    about,
    ddl,
    decide,
    diagnosis,
    idle,
    known_before,
    reader,
    reasons,
    settings,
    usual,
)

BRAKES = {
    "a follower": ("leader", AgentState(leader=False)),
    "a kill switch": ("kill_switch", AgentState(kill_switch="/run/pgdoctor.stop is there")),
    "maintenance": ("maintenance_mark", AgentState(maintenance_until=NOW + timedelta(seconds=1))),
    "a revoked privilege": ("may_signal", AgentState(may_signal=False)),
    "a fresh start": ("startup_grace", AgentState(watching_since=ago(29.9))),
    "a start in the future, by a clock that was set back": (
        "startup_grace",
        AgentState(watching_since=NOW + timedelta(hours=1)),
    ),
    "h36 an agent that was stopped since its look": ("sample_age", AgentState(sample_age=2.1)),
    "an agent that is a superuser": ("superuser", AgentState(superuser=True)),
    "a pooler in between": ("pooled", AgentState(pooled=True)),
    "a journal that cannot be written": ("audit", AgentState(audit="the disk is full")),
}


@pytest.mark.parametrize(("guard", "amid"), BRAKES.values(), ids=BRAKES)
def test_a_brake_stops_every_agent_and_nothing_else_is_said(guard: str, amid: AgentState) -> None:
    made = decide(amid=amid)
    assert made.approved is None
    assert reasons(about(made, DDL)) == {guard}
    [verdict] = about(made, DDL).objections
    assert verdict.value


@pytest.mark.parametrize(("guard", "amid"), BRAKES.values(), ids=BRAKES)
def test_a_brake_says_nothing_against_the_session_itself(guard: str, amid: AgentState) -> None:
    """Once it is released this one has its turn: until then it does not count as settled, or goes in its stead."""
    decision = about(decide(amid=amid), DDL)
    assert decision.state == "candidate"
    assert decision.pending
    assert decision.fit is (guard == "startup_grace"), "only a fresh agent goes on counting looks"
    [reader_in_front] = [each for each in decide(amid=amid).decisions if each.pid == IDLE]
    assert "cheaper_cut" in reasons(reader_in_front)


def test_brakes_that_are_off_stop_nothing() -> None:
    amid = AgentState(
        maintenance_until=NOW,
        may_signal=True,
        watching_since=ago(30),
        sample_age=2.0,
    )
    approved = decide(*(replace(each, may_signal=True) for each in usual()), amid=amid).approved
    assert approved is not None
    values = {verdict.guard: verdict.value for verdict in approved.verdicts}
    assert (values["leader"], values["may_signal"], values["breaker"]) == ("leader", "held", "closed")
    assert all(values[guard] for guard in set(REASONS) - {"cheaper_cut", "turn"})


def test_a_superuser_may_be_allowed() -> None:
    assert decide(by=replace(BOTH, allow_superuser=True), amid=AgentState(superuser=True)).approved is not None


def test_enforce_lapses_by_the_servers_clock_and_without_the_second_key() -> None:
    by = replace(BOTH, armed_until=NOW)
    assert mode_in_force(by, AgentState(), ago(0.001)) == "enforce"
    assert mode_in_force(by, AgentState(), NOW) == "dry_run"
    assert "armed_until" in str(find_lapse(by, AgentState(), NOW))
    assert mode_in_force(BOTH, AgentState(armed=False), NOW) == "dry_run"
    for mode in ("off", "observe", "dry_run"):
        assert mode_in_force(replace(by, mode=mode), AgentState(armed=False), NOW) == mode


def test_with_default_rules_a_forgotten_transaction_is_released_in_time_also_by_a_fresh_agent() -> None:
    """45 s from the start of the wait, for an agent that looks once a second and began when the wait did."""
    by, history = Mitigation(mode="enforce", rules=(Rule("idle", "idle_in_transaction", "terminate"),)), History()
    for second in range(60):
        at = NOW + timedelta(seconds=second)
        waiter = reader(31, blockers=(IDLE,), seconds=0)
        made = make_plan(diagnosis(idle(), waiter, at=at), by, history, AgentState(watching_since=NOW))
        if made.approved:
            break
        history = with_poll(history, made.fit, at)
    assert 15 <= second <= 45


# Budgets


def done(
    outcome: Outcome | None = "released",
    *,
    seconds: float = 60.0,
    pid: int = 77,
    signal: str = "terminate",
    **facts: object,
) -> Action:
    victim = Identity.of(session(pid))
    assert victim is not None
    usual = {"rule": "idle", "classification": "idle_in_transaction", "relation": None, "waiters": ()}
    return Action(victim=victim, signal=signal, at=ago(seconds), outcome=outcome, **{**usual, **facts})  # type: ignore[arg-type]


def after(*actions: Action, pid: int = IDLE, by: Mitigation | None = None, **history: object) -> set[str]:
    made = decide(by=by or settings(END_IDLE), history=History(actions=actions, **history))  # type: ignore[arg-type]
    return reasons(about(made, pid))


SPENT = {
    "none at all": (settings(END_IDLE, max_actions_per_interval=0), ()),
    "three in five minutes": (settings(END_IDLE), (done(pid=1), done(pid=2), done(pid=3, seconds=299))),
    "five terminates in an hour": (
        settings(END_IDLE, max_actions_per_5m=9),
        tuple(done(pid=pid, seconds=3599) for pid in range(5)),
    ),
    "two of a kind in an hour": (
        settings(END_IDLE),
        tuple(
            done(pid=pid, seconds=3000, fingerprint="idle_in_transaction public.orders app reporting") for pid in (1, 2)
        ),
    ),
}


@pytest.mark.parametrize(("by", "actions"), SPENT.values(), ids=SPENT)
def test_spent_budget_is_not_given_back(by: Mitigation, actions: tuple[Action, ...]) -> None:
    assert after(*actions, by=by) == {"budget"}
    gone = tuple(replace(action, outcome="gone") for action in actions)
    assert after(*gone, by=by) == ({"budget"} if not actions else set())
    assert after(*(replace(action, at=ago(3600)) for action in actions), by=by) == (
        {"budget"} if not actions else set()
    )


def test_h37_an_intent_without_an_outcome_is_in_progress_and_is_spent() -> None:
    """What a crash left: whether it was sent it is unknown."""
    assert after(done(None)) == {"under_way"}
    spent = {each.name: each.spent for each in compute_budgets(History(actions=(done(None),)), BOTH, NOW)}
    assert spent["actions_per_5m"] == spent["actions_per_hour"] == spent["terminates_per_hour"] == 1


def test_terminates_that_are_spent_leave_cancels() -> None:
    actions = tuple(done(pid=pid, seconds=3000) for pid in range(5))
    assert after(*actions, pid=DDL, by=BOTH) == set()


def test_while_the_best_cut_is_out_of_budget_no_other_goes_in_its_stead() -> None:
    spent = tuple(done(pid=pid, seconds=3000) for pid in range(5))
    other = [ddl(40, blockers=(11,)), reader(51, blockers=(40,))]
    made = decide(
        idle(),
        *(reader(pid, blockers=(IDLE,)) for pid in (31, 32, 33)),
        idle(11),
        *other,
        history=History(actions=spent),
    )
    assert reasons(about(made, IDLE)) == {"budget"}
    assert reasons(about(made, 40)) == {"turn"}


def test_five_minutes_are_five_minutes() -> None:
    by = settings(END_IDLE, max_actions_per_5m=1)
    assert after(done(seconds=299.9), by=by) == {"budget"}
    assert after(done(seconds=300), by=by) == set()


def test_remaining_budget_is_that_of_the_kind_or_the_least() -> None:
    by, history = settings(END_IDLE, max_per_fingerprint_per_hour=2), History(actions=(done(fingerprint="a"),))
    for fingerprint, left in ((None, 1), ("a", 1), ("b", 2)):
        assert budgets_left(history, by, NOW, fingerprint)["per_fingerprint"] == left
    assert budgets_left(History(), by, NOW)["per_fingerprint"] == 2


def test_unsent_action_breaks_no_run_of_refusals() -> None:
    refused, unsent, known = (done(each, pid=5) for each in ("not_permitted", "withheld", "ineffective"))
    assert "3 signals in a row were refused" in str(opened(refused, unsent, refused, done(None), refused))
    assert opened(refused, refused, known, refused) is None


def test_every_budget_can_be_asked_for() -> None:
    found = compute_budgets(History(actions=(done(), done(signal="cancel"))), BOTH, NOW, "x")
    assert tuple(each.name for each in found) == BUDGETS
    assert {each.name: each.left for each in found} == {
        "actions_per_interval": 1,
        "actions_per_5m": 1,
        "actions_per_hour": 8,
        "terminates_per_hour": 4,
        "per_fingerprint": 2,
    }


# The breaker


def opened(*actions: Action, by: Breaker | None = None, **history: object) -> str | None:
    found = breaker.find_opening(History(actions=actions, **history), by or Breaker(), NOW)  # type: ignore[arg-type]
    return found.reason if found else None


CLOSED = {
    "nothing was done": (),
    "one was in vain": (done("ineffective"),),
    "a cancel and the terminate after it are of one": (done("ineffective", signal="cancel"), done("ineffective")),
    "in between somebody was released": (done("ineffective", pid=1), done(pid=2), done("ineffective", pid=3)),
    "a dry run": tuple(done("would_act", pid=pid) for pid in range(9)),
    "gone before": tuple(done("gone", pid=pid) for pid in range(9)),
    "held back by a brake": tuple(done("withheld", pid=pid) for pid in range(9)),
    "two were refused": (done("not_permitted", pid=1), done("error", pid=2)),
    "refused, released, refused": (
        *(done("not_permitted", pid=1), done("error", pid=2), done(pid=3)),
        *(done("not_permitted", pid=4), done("error", pid=5)),
    ),
    "one is in progress": (done("ineffective", pid=1), done(None, pid=2)),
}


@pytest.mark.parametrize("actions", CLOSED.values(), ids=CLOSED)
def test_the_breaker_stays_closed(actions: tuple[Action, ...]) -> None:
    assert opened(*actions) is None


OPEN = {
    "two in vain": ((done("ineffective", pid=1), done("ineffective", pid=2)), "2 blockers in a row"),
    "h46 two that would not go": ((done("stuck", pid=1), done("ineffective", pid=2)), "without effect"),
    "in vain, gone, in vain": (
        (done("ineffective", pid=1), done("gone", pid=2), done("ineffective", pid=3)),
        "without effect",
    ),
    "three refused": (tuple(done("not_permitted", pid=pid) for pid in (1, 2, 3)), "3 signals in a row"),
    "no answers": (tuple(done("error", pid=pid) for pid in (1, 2, 3)), "not answered"),
    "h26 connections rose": ((done(worsening="connections rose from 10 to 30"),), "connections rose"),
}


@pytest.mark.parametrize(("actions", "why"), OPEN.values(), ids=OPEN)
def test_the_breaker_opens_and_only_a_reset_closes_it(actions: tuple[Action, ...], why: str) -> None:
    assert why in str(opened(*actions))
    # A release does not close it, and neither does time.
    assert why in str(opened(*actions, done(pid=99, seconds=1)))
    assert why in str(opened(*(replace(action, at=ago(23 * 3600)) for action in actions)))
    assert opened(*actions, reset=Reset(ago(59), "seen to", "ann")) is None
    assert why in str(opened(*actions, reset=Reset(ago(61), "an older matter", "ann")))
    assert "breaker" in after(*actions)


def test_once_open_it_stays_open_though_what_opened_it_is_forgotten() -> None:
    opening = Opening(ago(9 * 86400), "2 blockers in a row were signalled without effect")
    assert opened(opening=opening) == opening.reason
    assert after(opening=opening) == {"breaker"}
    assert after(opening=opening, reset=Reset(ago(1), "seen to", "ann")) == set()
    assert after(opening=opening, reset=Reset(ago(10 * 86400), "of an earlier one", "ann")) == {"breaker"}


def test_with_the_breaker_open_no_session_is_signalled_and_the_plan_says_why() -> None:
    opening = Opening(ago(10), "why")
    made = decide(history=History(opening=opening))
    assert made.approved is None
    assert made.opening == opening
    assert with_poll(History(), [], NOW, openings=[made.opening]).opening == opening


def test_worsening_may_be_left_out() -> None:
    worse = done(worsening="connections rose from 10 to 30")
    assert opened(worse, by=Breaker(open_on_worsening=False)) is None


def comes_back(
    times: int, *, seconds: float = 1000.0, by: Mitigation | None = None, outcome: Outcome = "released"
) -> set[str]:
    kind = "idle_in_transaction public.orders app reporting"
    before = [done(outcome, pid=pid, seconds=seconds, fingerprint=kind) for pid in range(1, times + 1)]
    return after(*before, by=by or settings(END_IDLE, max_per_fingerprint_per_hour=9, max_terminates_per_hour=9))


def test_h25_third_recurrence_stops_the_fingerprint() -> None:
    assert comes_back(1) == set()
    assert comes_back(2) == {"recurrence"}
    assert comes_back(2, seconds=1800) == set()
    assert comes_back(2, outcome="withheld") == comes_back(2, outcome="gone") == set()
    assert comes_back(2, by=settings(END_IDLE)) == {"recurrence", "budget"}
    assert "recurrence" not in comes_back(2, by=settings(replace(END_IDLE, min_blocked=50)))


def stopped(*fingerprints: str) -> tuple[Opening, ...]:
    return tuple(Opening(ago(100), f"it came back: {each}", fingerprint=each) for each in fingerprints)


def test_recurrence_of_one_fingerprint_stops_that_fingerprint_alone() -> None:
    known = "idle_in_transaction public.orders app reporting"
    assert after(stops=stopped(known)) == {"recurrence"}
    assert after(stops=stopped("another one")) == set()
    assert after(stops=stopped("another one", "a second")) == set()
    assert after(stops=stopped(known), reset=Reset(ago(1), "mended", "ann")) == set()
    # No restart and no time lifts it: it is on record.
    old = tuple(replace(each, at=ago(9 * 86400)) for each in stopped(known))
    assert after(stops=old) == {"recurrence"}


def test_recurrence_of_three_fingerprints_stops_everything() -> None:
    made = decide(history=History(stops=stopped("one", "a second", "a third")))
    assert made.opening is not None
    assert "3 different blockers returned too often: one; a second; a third" in made.opening.reason
    assert all("breaker" in reasons(decision) for decision in made.decisions if decision.rule)
    rehearsed = tuple(replace(each, rehearsed=True) for each in stopped("one", "a second", "a third"))
    assert decide(history=in_mode(History(stops=rehearsed), "enforce")).opening is None


def test_session_in_front_of_a_stopped_request_is_not_signalled_in_its_stead() -> None:
    made = decide(history=History(stops=stopped("migration public.orders app deploy")))
    assert made.approved is None
    assert reasons(about(made, DDL)) == {"recurrence"}
    assert "cheaper_cut" in reasons(about(made, IDLE))


def test_h25_a_retry_storm_is_met_twice_and_then_no_more() -> None:
    """A client that reconnects and locks at once, again and again: look after look, as the executor would."""
    by, history, actions = settings(END_IDLE), History(), 0
    for round_ in range(10):
        at = NOW + timedelta(seconds=20 * round_)
        start = at - timedelta(seconds=16)
        holder = idle(100 + round_, xact_start=start, query_start=start, state_change=start)
        waiter = reader(31, blockers=(100 + round_,), seconds=None)
        waits = tuple(replace(each, waitstart=start) for each in waiter.locks)
        seen = diagnosis(holder, replace(waiter, locks=waits), at=at)
        made = make_plan(seen, by, history)
        history = with_poll(history, made.fit, at, load=ServerLoad.of(seen), openings=made.stops)
        if made.approved:
            actions += 1
            history = with_action(history, replace(intend_action(made.approved, seen), outcome="released"))
    assert actions == 2
    [stop] = history.stops
    assert "occurrence 3 within 30m" in stop.reason


def test_a_fingerprint_without_a_relation_is_of_the_statement_without_its_values() -> None:
    def fingerprint(statement: str) -> str:
        return about(
            make_plan(diagnose(snapshot([idle(statement=statement), ddl()], relations=())), BOTH, History()), IDLE
        ).fingerprint

    secret = fingerprint("update orders set card = '4111' where id = 1")
    assert secret == fingerprint("update orders set card = '4222' where id = 2")
    assert secret != fingerprint("update orders set note = '4111' where id = 1")
    assert "4111" not in secret


GROWTH = {
    "less": (ServerLoad(10, 50), ServerLoad(2, 40), False),
    "half more": (ServerLoad(10, 50), ServerLoad(15, 75), False),
    "more than half more waiters": (ServerLoad(10, 50), ServerLoad(16, 50), True),
    "more than half more connections": (ServerLoad(10, 50), ServerLoad(0, 76), True),
    "a few of a few": (ServerLoad(1, 4), ServerLoad(5, 8), False),
}


@pytest.mark.parametrize(("before", "now", "worse"), GROWTH.values(), ids=GROWTH)
def test_h26_growth_within_a_minute_is_worsening(before: ServerLoad, now: ServerLoad, worse: bool) -> None:
    def seen(*, outcome: Outcome | None = "released", seconds: float = 60.0) -> bool:
        history = History(actions=(done(outcome, seconds=seconds, load=before),))
        return bool(with_poll(history, [], NOW, load=now).actions[0].worsening)

    assert seen() == worse
    assert seen(outcome=None) == worse
    assert not seen(seconds=60.1)
    assert not seen(outcome="would_act")
    assert not seen(outcome="gone")
    assert not seen(outcome="withheld")


def test_h26_worsened_incident_is_remembered_after_its_end() -> None:
    history = History(actions=(done(load=ServerLoad(10, 50), seconds=10),))
    history = with_poll(history, [], NOW, load=ServerLoad(100, 50))
    assert (
        with_poll(history, [], NOW, load=ServerLoad(0, 50)).actions[0].worsening
        == "blocked sessions rose from 10 to 100"
    )


# Systemic


def test_h44_many_independent_incidents_are_nobodys_fault() -> None:
    sessions = [each for n in range(6) for each in (idle(100 + n), reader(200 + n, blockers=(100 + n,)))]
    made = decide(*sessions)
    assert made.approved is None
    assert all(reasons(decision) >= {"systemic"} for decision in made.decisions)
    assert {decision.state for decision in made.decisions} == {"candidate"}
    assert decide(*sessions[2:]).approved is not None


def test_h59_a_user_that_blocks_only_itself_stops_no_other() -> None:
    """Any role may take advisory locks of its own, with many sessions that wait for each other."""
    own = [
        each
        for number in range(9)
        for each in (
            idle(100 + number, usename="mallory"),
            reader(200 + number, blockers=(100 + number,), usename="mallory"),
        )
    ]
    victim = idle(usename="app"), reader(31, blockers=(IDLE,), usename="app")
    assert decide(*victim, *own).approved is not None
    decisions = decide(*victim, *own).decisions
    said = {each.guard: each.objection for decision in decisions if decision.pid == 100 for each in decision.objections}
    assert said["systemic"] == "10 independent incidents at once; the limit is 5; 9 incidents of user mallory"


def test_h59_incidents_of_several_users_or_of_an_unknown_one_all_count() -> None:
    def pairs(*users: str | None) -> list[Session]:
        return [
            each
            for number, user in enumerate(users)
            for each in (
                idle(100 + number, usename=user),
                reader(200 + number, blockers=(100 + number,), usename=user),
            )
        ]

    victim = idle(usename="app"), reader(31, blockers=(IDLE,), usename="app")
    for users in (["a", "b", "c", "d", "e"], [None] * 5, ["app"] * 5):
        made = decide(*victim, *pairs(*users))
        assert "systemic" in reasons(about(made, IDLE)), users
        assert "systemic" not in reasons(about(decide(*victim, *pairs(*users[1:])), IDLE)), users


def test_six_readers_in_front_of_one_alter_are_one_incident() -> None:
    readers = [idle(100 + n) for n in range(6)]
    made = decide(*readers, ddl(blockers=tuple(range(100, 106))), reader(31))
    assert made.approved is about(made, DDL)


def test_h44_where_most_clients_are_blocked_one_action_is_tried_and_then_a_person_decides() -> None:
    waiters = [reader(pid, blockers=(IDLE,)) for pid in range(100, 190)]
    tried = (done(pid=1, seconds=60),)

    def again(**history: object) -> set[str]:
        made = decide(idle(), *waiters, by=settings(END_IDLE), history=History(**history), connections=95)  # type: ignore[arg-type]
        return reasons(about(made, IDLE))

    assert again() == set()
    assert again(actions=tried) == {"systemic"}
    assert again(actions=(done(pid=1, seconds=3600),)) == set()
    assert again(actions=tried, reset=Reset(ago(61), "seen to before", "ann")) == {"systemic"}
    assert again(actions=tried, reset=Reset(ago(1), "try once more", "ann")) == set()
    for blocked, connections, stops in ((9, 9, False), (10, 12, True), (80, 100, False), (81, 100, True)):
        history = History(actions=tried)
        made = decide(idle(), *waiters[:blocked], by=settings(END_IDLE), history=history, connections=connections)
        said = {each.guard: each.objection for each in about(made, IDLE).objections}
        assert ("one action has been tried" in str(said.get("systemic"))) is stops, (blocked, connections)


# What the server refused


def refusals(*users: str, seconds: float = 60.0) -> tuple[Action, ...]:
    return tuple(done("not_permitted", pid=pid, seconds=seconds, usename=user) for pid, user in enumerate(users, 1))


def test_signal_refused_for_a_user_is_not_retried_for_minutes() -> None:
    assert after(*refusals("app")) == {"may_signal"}
    assert after(*refusals("boss")) == set()
    assert after(*refusals("app", seconds=600)) == set()
    assert after(*refusals("app"), done(pid=9, seconds=30)) == set()


def test_two_users_refused_one_after_the_other_is_an_operators_revoke() -> None:
    assert after(*refusals("boss", "root")) == {"may_signal"}
    assert after(*refusals("boss", "boss")) == set()


# Where a blocker stands


def test_each_state_of_an_incident_has_its_name() -> None:
    assert about(decide(by=settings()), IDLE).state == "observed"
    assert about(decide(amid=AgentState(leader=False)), DDL).state == "candidate"
    assert about(decide(by=replace(BOTH, min_samples=2)), DDL).state == "candidate"
    assert about(decide(ddl(application_name="psql"), idle(), reader(31)), DDL).state == "suppressed"
    assert about(decide(), DDL).state == "eligible"


# A person's word

ASKING = settings(END_IDLE, require_approval=True)


def test_without_a_persons_word_nothing_is_done_and_the_plan_says_what_it_is_asked_for() -> None:
    decision = about(decide(by=ASKING), IDLE)
    assert (decision.state, reasons(decision)) == ("pending_approval", {"approval"})
    assert f"pgdoctor mitigate approve {decision.id}" in str(decision.objections[0].objection)
    assert decision.victim in decide(by=ASKING).fit


def test_an_approval_holds_for_a_while_for_this_very_decision() -> None:
    name = about(decide(by=ASKING), IDLE).id
    assert name is not None
    for approval, holds in (
        (Approval(name, ago(59), "ann"), True),
        (Approval(name, ago(60), "ann"), False),
        (Approval(name, NOW + timedelta(seconds=1), "ann"), False),
        (Approval(name.replace("terminate", "cancel"), ago(1), "ann"), False),
        (Approval("10-1-terminate", ago(1), "ann"), False),
    ):
        made = decide(by=ASKING, history=History(approvals=(approval,)))
        assert (made.approved is not None) == holds
    given = History(approvals=(Approval(name, ago(1), "ann"),))
    # A terminate is about the transaction, so its approval is too.
    assert decide(idle(state_change=ago(59)), ddl(), by=ASKING, history=given).approved is not None
    assert decide(idle(xact_start=ago(59)), ddl(), by=ASKING, history=given).approved is None
    assert decide(by=ASKING, history=given, amid=AgentState(leader=False)).approved is None


def test_a_rule_may_ask_for_it_or_do_without() -> None:
    assert decide(by=settings(replace(END_IDLE, require_approval=True))).approved is None
    without = replace(ASKING, rules=(replace(END_IDLE, require_approval=False),))
    assert decide(by=without).approved is not None
    longer = settings(replace(END_IDLE, require_approval=True, approval_ttl=Duration(600)))
    name = about(decide(by=longer), IDLE).id
    assert decide(by=longer, history=History(approvals=(Approval(str(name), ago(599), "ann"),))).approved is not None


def test_while_the_queued_alter_waits_for_a_word_the_reader_in_front_of_it_is_spared() -> None:
    made = decide(by=settings(END_IDLE, replace(CANCEL_DDL, require_approval=True)))
    assert about(made, DDL).state == "pending_approval"
    assert reasons(about(made, IDLE)) == {"cheaper_cut"}


def test_action_that_waits_for_approval_delays_no_other() -> None:
    by = settings(replace(END_IDLE, require_approval=True, usename=("app",)), replace(END_IDLE, name="free"))
    made = decide(idle(), ddl(), idle(11, usename="batch"), reader(51, blockers=(11,)), by=by)
    assert made.approved is about(made, 11)


# The floor below every rule


def test_the_server_looks_for_deadlocks_first() -> None:
    quick = settings(replace(END_IDLE, min_wait=Duration(5)))
    waiting = (idle(), reader(31, blockers=(IDLE,), seconds=8))
    assert decide(*waiting, by=quick).approved is not None
    made = decide(*waiting, by=quick, deadlock_timeout=2.0)
    assert reasons(about(made, IDLE)) == {"deadlock_timeout"}
    rehearsal = replace(quick, allow_short_waits=True)
    assert decide(*waiting, by=rehearsal, deadlock_timeout=2.0).approved is not None


def test_h45_how_long_a_session_waits_is_not_how_old_its_transaction_is() -> None:
    old = reader(31, blockers=(IDLE,), seconds=2, xact_start=ago(3600), query_start=ago(3600))
    assert "min_wait" in reasons(about(decide(idle(), old, by=settings(END_IDLE)), IDLE))


AGES = {
    "max_age": {"xact_start": ago(6 * 3600 + 1), "backend_start": ago(9 * 3600)},
    "min_state_age": {"state_change": ago(29)},
    "min_session_age": {"backend_start": ago(9)},
}


@pytest.mark.parametrize(("guard", "facts"), AGES.items())
def test_session_outside_of_the_age_limits_is_left_alone(guard: str, facts: dict[str, object]) -> None:
    by = settings(replace(END_IDLE, min_state_age=Duration(30)))
    assert guard in reasons(about(decide(idle(**facts), ddl(), by=by), IDLE))
    assert decide(idle(), ddl(), by=by).approved is not None


def test_a_share_of_all_clients_may_be_asked_for() -> None:
    by = settings(replace(CANCEL_DDL, min_blocked_share=0.31))
    assert reasons(about(decide(by=by, connections=10), DDL)) == {"min_blocked_share"}
    assert decide(by=by, connections=9).approved is not None


def test_outside_of_its_hours_a_rule_does_nothing_and_the_next_one_decides() -> None:
    assert NOW.strftime("%a %H:%M") == "Fri 23:10"
    closed = replace(CANCEL_DDL, active_window=(Window("mon-fri 08:00-18:00"), Window("sat 23:00-24:00")))
    assert reasons(about(decide(by=settings(closed)), DDL)) == {"active_window"}
    for hours in ("fri 23:10-23:11", "sat 01:00-02:00 Europe/Berlin"):
        assert decide(by=settings(replace(closed, active_window=(Window(hours),)))).approved is not None
    later = replace(CANCEL_DDL, name="at-night")
    made = decide(by=settings(closed, later)).approved
    assert made is not None
    assert made.rule == later


WAITED_FOR = {
    "active_window": replace(END_IDLE, active_window=(Window("mon-fri 08:00-18:00"),)),
    "min_wait": replace(END_IDLE, min_wait=Duration(61)),
    "min_age": replace(END_IDLE, min_age=Duration(21_600 - 1)),
    "min_state_age": replace(END_IDLE, min_state_age=Duration(21_600 - 1)),
    "min_session_age": replace(END_IDLE, min_session_age=Duration(3600 * 24)),
}


@pytest.mark.parametrize(("guard", "rule"), WAITED_FOR.items(), ids=WAITED_FOR)
def test_temporary_objection_keeps_the_candidate(guard: str, rule: Rule) -> None:
    decision = about(decide(idle(), reader(31, blockers=(IDLE,)), by=settings(rule)), IDLE)
    assert reasons(decision) == {guard}
    assert (decision.state, decision.pending, decision.fit, decision.lasting) == ("candidate", True, False, set())


def test_the_servers_deadlock_check_is_waited_for_too() -> None:
    decision = about(decide(idle(), reader(31, blockers=(IDLE,)), by=settings(END_IDLE), deadlock_timeout=60), IDLE)
    assert (reasons(decision), decision.state) == ({"deadlock_timeout"}, "candidate")


@pytest.mark.parametrize(("by", "action"), [(0, None), (90, "released")])
def test_whose_turn_has_not_come_yet_is_fit_meanwhile(by: int, action: Outcome | None) -> None:
    history, limits = History(actions=(done(action),)), settings(END_IDLE, cooldown=Duration(by))
    decision = about(decide(idle(), reader(31, blockers=(IDLE,)), by=limits, history=history), IDLE)
    assert reasons(decision) == {"cooldown" if by else "under_way"}
    assert (decision.state, decision.fit, decision.sound) == ("candidate", True, True)


# Queues


def test_h13_policy_decides_the_signalled_session() -> None:
    def approved(policy: str) -> int | None:
        made = decide(by=replace(BOTH, queue_policy=policy))
        return made.approved.pid if made.approved else None

    assert approved("self") == DDL
    assert approved("blockers") == IDLE
    assert approved("none") is None


def test_h13_policy_none_spares_the_head_of_the_queue() -> None:
    made = decide(by=replace(BOTH, queue_policy="none"))
    assert reasons(about(made, DDL)) == {"queue_policy"}
    assert reasons(about(made, IDLE)) == {"queue_policy"}
    row_waiter = reader(60, blockers=(IDLE,))
    both = decide(*(idle(), ddl(), reader(31), row_waiter), by=replace(BOTH, queue_policy="none"))
    assert both.approved is about(both, IDLE)


def test_h16_two_in_front_of_a_request_are_not_ended_one_by_one() -> None:
    made = decide(idle(), idle(11), ddl(blockers=(IDLE, 11)), reader(31), by=replace(BOTH, queue_policy="blockers"))
    assert made.approved is None
    assert "min_blocked" in reasons(about(made, IDLE))


# What the diagnosis says


def test_a_migration_that_is_nearly_done_is_left_to_finish() -> None:
    held = (lock(DDL, "ShareLock", granted=True),)
    building = ddl(blockers=(), locks=held, statement="create index on orders (v)")
    writer = reader(31, locks=(lock(31, "RowExclusiveLock", granted=False),))
    for done_, expected in ((99, {"recommendation"}), (1, set())):
        progress = {DDL: CommandProgress("CREATE INDEX", "loading tuples in tree", done_, 100)}
        seen = diagnose(replace(known_before(snapshot([building, writer])), progress=progress))
        assert reasons(about(make_plan(seen, settings(CANCEL_DDL), History()), DDL)) == expected


def test_h27_an_advisory_lock_is_its_owners_unless_a_rule_names_the_class() -> None:
    holder = idle(locks=(advisory(IDLE, granted=True),))
    waiter = reader(31, blockers=(IDLE,), locks=(advisory(31, granted=False),))
    assert about(decide(holder, waiter), IDLE).rule is None
    named = settings(replace(END_IDLE, classification="advisory_lock"))
    assert decide(holder, waiter, by=named).approved is not None
