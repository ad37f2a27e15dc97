"""Whom a plan chooses, and what holds for every plan."""

from datetime import timedelta
from functools import lru_cache
from typing import Any, get_args

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pgdoctor.diagnosis.cause import class_names, may_be_signalled
from pgdoctor.diagnosis.diagnose import diagnose
from pgdoctor.fields import Duration, Network, Qualified, Window
from pgdoctor.mitigation.circumstances import AgentState
from pgdoctor.mitigation.decision import Decision
from pgdoctor.mitigation.history import Action, Approval, History, Opening, Outcome, Reset, decision_id, with_poll
from pgdoctor.mitigation.match import Subject
from pgdoctor.mitigation.plan import MOST_DECISIONS, OnlySession, Plan, make_plan
from pgdoctor.mitigation.rule_validation import is_hidden_by
from pgdoctor.mitigation.rules import Breaker, Mitigation, Protect, Rule
from pgdoctor.model.identity import Identity
from pgdoctor.model.lock_modes import MODES, STRONG
from pgdoctor.model.snapshot import Session, Snapshot
from pgdoctor.statement_pattern import StatementPattern
from tests.building import NOW, ago, lock, session, snapshot
from tests.examples import examples
from tests.mitigation.build import (
    BOTH,
    DDL,
    END_IDLE,
    IDLE,
    READERS,
    about,
    ddl,
    decide,
    diagnosis,
    idle,
    reader,
    reasons,
    rule,
    settings,
    usual,
)

# Whom


def test_without_rules_nothing_is_done() -> None:
    made = decide(by=Mitigation(mode="enforce"))
    assert made.approved is None
    assert {reason for decision in made.decisions for reason in reasons(decision)} == {"no_rule"}


def test_no_blocked_session_needs_no_decision() -> None:
    assert decide(session(1), by=BOTH) == Plan()


def test_the_queued_alter_goes_and_the_reader_in_front_of_it_stays() -> None:
    made = decide()
    assert made.approved is about(made, DDL)
    assert made.approved.signal == "cancel"
    assert [waiter.pid for waiter in made.approved.waiters] == list(READERS)
    assert reasons(about(made, IDLE)) == {"cheaper_cut"}


def test_while_the_queued_alter_only_lacks_time_the_reader_stays_too() -> None:
    """The ALTER has waited for the reader for long, but those behind it have come just now."""
    made = decide(idle(), ddl(), *(reader(pid, seconds=5) for pid in READERS))
    assert made.approved is None
    assert reasons(about(made, DDL)) == {"min_wait"}
    assert reasons(about(made, IDLE)) == {"cheaper_cut"}


def test_where_the_queued_alter_may_not_be_touched_the_reader_goes() -> None:
    by = replace(BOTH, protect=(Protect(application_name=("deploy",)),))
    made = decide(by=by)
    assert made.approved is about(made, IDLE)


def test_where_no_rule_speaks_of_the_alter_the_reader_goes() -> None:
    made = decide(by=settings(END_IDLE))
    assert made.approved is about(made, IDLE)


def test_a_root_that_frees_more_than_the_queued_request_goes_first() -> None:
    writers = [
        session(
            pid,
            blockers=(IDLE,),
            locks=(
                lock(
                    pid,
                    "ShareLock",
                    granted=False,
                    locktype="transactionid",
                    relation=None,
                    database=None,
                    transactionid=7,
                ),
            ),
        )
        for pid in range(40, 46)
    ]
    made = decide(*usual(), *writers)
    assert made.approved is about(made, IDLE)


def test_of_two_incidents_the_bigger_one_goes_first_and_the_other_keeps_its_place() -> None:
    other = [idle(11), reader(51, blockers=(11,)), reader(52, blockers=(11,)), reader(53, blockers=(11,))]
    made = decide(*other, idle(12), reader(61, blockers=(12,)))
    assert made.approved is about(made, 11)
    assert reasons(about(made, 12)) == {"turn"}
    assert set(made.fit) == {about(made, 11).victim, about(made, 12).victim}


def test_the_first_rule_decides_whose_conditions_all_hold() -> None:
    by = settings(
        replace(END_IDLE, name="crowd", min_blocked=10),
        replace(END_IDLE, name="old", min_age=Duration(3600)),
        replace(END_IDLE, name="plain"),
        rule("never-reached", "long_query", "terminate"),
    )
    made = decide(by=by)
    assert made.approved is not None
    assert made.approved.rule is by.rules[2]


def test_where_no_rule_is_met_the_first_one_about_it_says_what_is_missing() -> None:
    by = settings(
        replace(END_IDLE, name="crowd", min_blocked=10), replace(END_IDLE, name="old", min_age=Duration(3600))
    )
    decision = about(decide(by=by), IDLE)
    assert decision.rule is by.rules[0]
    assert reasons(decision) == {"min_blocked"}


def test_a_cancel_that_had_no_effect_is_followed_by_a_terminate() -> None:
    """Cancelled inside a savepoint a session is idle on, of another class now, and holds its locks."""
    ladder = rule("slow", "long_query", "cancel_then_terminate", grace=Duration(10))
    aborted = idle(state="idle in transaction (aborted)", state_change=ago(12))
    before = Identity.of(session(IDLE))
    assert before is not None
    cancelled = Action(
        victim=before,
        signal="cancel",
        rule="slow",
        classification="long_query",
        relation=None,
        waiters=(),
        at=ago(15),
        outcome="ineffective",
    )
    history = History(actions=(cancelled,))
    made = decide(aborted, ddl(), by=settings(ladder), history=history)
    assert made.approved is not None
    assert (made.approved.signal, made.approved.rule) == ("terminate", ladder)
    assert about(made, IDLE).classification == "idle_in_transaction"
    only_cancel = rule("slow", "long_query", "cancel")
    assert decide(aborted, ddl(), by=settings(only_cancel), history=history).approved is None
    moved_on = replace(aborted, query_start=ago(11))
    assert decide(moved_on, ddl(), by=settings(ladder), history=history).approved is None


def test_a_cancel_that_no_agent_watched_is_followed_by_a_terminate_once_its_grace_is_over() -> None:
    """The agent that sent it was signalled to end; the blocker in the same statement was not helped by it."""
    ladder = rule("slow", "long_query", "cancel_then_terminate", grace=Duration(10))
    before = Identity.of(session(IDLE))
    assert before is not None
    for outcome, seconds, signal in (
        ("unverified", 9.9, None),
        ("unverified", 10, "terminate"),
        ("error", 10, None),
        ("ineffective", 1, "terminate"),
    ):
        sent = Action(before, "cancel", "slow", "long_query", None, (), ago(seconds), 10, outcome=outcome)  # type: ignore[arg-type]
        made = decide(idle(), ddl(), by=settings(ladder), history=History(actions=(sent,))).approved
        assert (made.signal if made else None) == signal, (outcome, seconds)


def test_no_decision_is_approved_that_not_every_guard_was_asked_about_or_that_has_no_victim() -> None:
    sound = decide().approved
    assert sound is not None
    for place in range(len(sound.verdicts)):
        assert not replace(sound, verdicts=(*sound.verdicts[:place], *sound.verdicts[place + 1 :])).approved
    nobody = replace(sound, victim=None)
    assert [nobody.approved, nobody.fit, nobody.sound, nobody.pending] == [False] * 4


def test_a_decision_is_held_against_the_plan_of_the_last_moment() -> None:
    meant = about(decide(), DDL)
    assert decide().objections_to(meant) is None
    assert str(decide(amid=AgentState(leader=False)).objections_to(meant)).startswith(
        "leader: this pgdoctor is not the leader"
    )
    for moved_on in (decide(idle()), decide(idle(), ddl(state_change=ago(1)), reader(31))):
        assert "the decision has changed" in str(moved_on.objections_to(meant))


def test_consent_for_one_state_does_not_hold_for_another() -> None:
    decision = about(decide(), DDL)
    assert OnlySession(DDL, "cancel", decision.id).is_about(decision)
    assert "in another statement" in str(OnlySession(DDL, "cancel", "another").find_objection(decision))
    assert "only terminate to 20" in str(OnlySession(DDL, "terminate").find_objection(decision))
    assert "only a signal to 10" in str(OnlySession(IDLE).find_objection(decision))


def test_session_without_a_rule_is_observed_and_a_cheaper_cut_may_follow() -> None:
    assert about(decide(by=settings(END_IDLE)), DDL).state == "observed"
    assert not about(decide(by=settings(END_IDLE)), DDL).may_come
    spared = about(decide(amid=AgentState(leader=False)), IDLE)
    assert reasons(spared) == {"leader", "cheaper_cut"}
    assert (spared.state, spared.pending) == ("candidate", True)


def test_escalation_asks_every_guard_again() -> None:
    ladder = rule("slow", "long_query", "cancel_then_terminate", grace=Duration(10), protected_usename=("boss",))
    before = Identity.of(session(IDLE))
    assert before is not None
    history = History(
        actions=(Action(before, "cancel", "slow", "long_query", None, (), ago(15), outcome="ineffective"),)
    )
    aborted = idle(state="idle in transaction (aborted)", usename="boss")
    assert "protected" in reasons(about(decide(aborted, ddl(), by=settings(ladder), history=history), IDLE))
    by = settings(ladder, cooldown=Duration(20))
    assert reasons(about(decide(idle(), ddl(), by=by, history=history), IDLE)) == {"cooldown"}


def test_samples_are_counted_poll_after_poll_and_lost_by_a_poll_without() -> None:
    by = replace(BOTH, min_samples=3)
    history = History()
    for expected in (None, None, DDL):
        made = make_plan(diagnosis(), by, history)
        assert (made.approved.pid if made.approved else None) == expected
        history = with_poll(history, made.fit, NOW)
    history = with_poll(history, make_plan(diagnosis(session(1)), by, history).fit, NOW)
    assert make_plan(diagnosis(), by, history).approved is None


def test_a_convoy_of_a_thousand_is_judged_in_time() -> None:
    """Half a million pairs: one holder of a row, and all others behind it in a queue for the row."""
    row = {"locktype": "transactionid", "database": None, "relation": None, "transactionid": 7}
    place = {"locktype": "tuple", "page": 1, "tuple": 1}
    first = idle(1, locks=(lock(1, "ExclusiveLock", granted=True, **row),))
    second = session(2, blockers=(1,), locks=(lock(2, "ShareLock", granted=False, **row),))
    rest = [
        session(pid, blockers=tuple(range(2, pid)), locks=(lock(pid, "ExclusiveLock", granted=False, **place),))
        for pid in range(3, 1001)
    ]
    every = tuple(rule(name, name, "terminate") for name in class_names() if may_be_signalled(name))
    made = make_plan(diagnosis(first, second, *rest), settings(*every), History())
    assert made.approved is about(made, 1)
    assert made.approved.frees == 999
    assert len(made.decisions) == MOST_DECISIONS


# What holds for every plan

STATEMENTS = [
    "select * from orders",
    "update orders set v = 1",
    "alter table orders add column x int",
    "lock table orders",
    "vacuum full orders",
    "create index concurrently i on orders (v)",
    "commit",
    "",
    None,
]
ROW = {"locktype": "transactionid", "database": None, "relation": None, "transactionid": 7}


@lru_cache(maxsize=None, typed=True)
def mostly(usual: Any, *rarely: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from([usual] * (5 + 4 * len(rarely)) + list(rarely))


NAMES = mostly("app", "boss", "pgdoctor", None)
MOMENTS = mostly(ago(4000), ago(20), ago(0.5), None)


@st.composite
def sessions(draw: st.DrawFn, pid: int) -> Session:
    """Mostly what a rule could be about: the first ones hold, the later ones wait; rarely anything at all."""
    others = st.integers(1, max(pid - 1, 1)) if draw(mostly(True, False)) else st.integers(1, 6)
    waits = pid > 2 if draw(mostly(True, False)) else draw(st.booleans())
    blockers = tuple({draw(others) for _ in range(draw(mostly(1, 2)))} - {pid}) if waits else ()
    where: dict[str, Any] = ROW if draw(mostly(False, True)) else {}
    modes = st.sampled_from(MODES)
    seconds = draw(mostly(4000.0, 20.0, 0.5, None))
    locks = (lock(pid, draw(modes), granted=True, **where),)
    if blockers and draw(mostly(True, False)):
        locks += (lock(pid, draw(mostly("AccessExclusiveLock", *MODES)), granted=False, seconds=seconds, **where),)
    return session(
        pid,
        blockers=blockers,
        locks=locks,
        usename=draw(NAMES),
        application_name=draw(mostly("app", "boss", "pgdoctor", "psql", None)),
        roles=draw(mostly(frozenset({"app"}), frozenset({"app", "boss"}), frozenset({"pgdoctor_protected"}), None)),
        client_addr=draw(mostly(None, "10.1.2.3", "fd00::1")),
        backend_type=draw(mostly("client backend", "walsender", None)),
        state="active" if blockers else draw(mostly("idle in transaction", "active", "idle", None)),
        statement=draw(mostly("alter table orders add column x int", *STATEMENTS)),
        wait_event=draw(mostly(None, "SyncRep", "ClientRead")),
        backend_start=draw(mostly(ago(5000), None)),
        xact_start=draw(MOMENTS),
        query_start=draw(MOMENTS),
        state_change=draw(MOMENTS),
        has_xid=draw(st.booleans()),
    )


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    found = [draw(sessions(pid)) for pid in range(1, draw(st.integers(3, 6)) + 1)]
    return snapshot(
        found,
        in_recovery=draw(mostly(False, False, True)),
        hidden_sessions=draw(mostly(0, 0, 3)),
        own_pid=draw(mostly(999, 1)),
    )


LISTS = mostly(None, ("app",), ("app", "boss"), ("nobody",))
CLASSES = [each for each in class_names() if may_be_signalled(each)]


@st.composite
def one_rule(draw: st.DrawFn, name: str) -> Rule:
    action = draw(mostly("terminate", "cancel", "cancel_then_terminate"))
    return rule(
        name,
        tuple(draw(st.sets(st.sampled_from(CLASSES), min_size=3))),
        action,
        grace=Duration(10) if action == "cancel_then_terminate" else None,
        min_blocked=draw(mostly(1, 2)),
        min_wait=Duration(draw(mostly(0, 15, 3600))),
        min_age=Duration(draw(mostly(0, 15, 3600))),
        max_age=Duration(draw(mostly(21600, 4001))),
        active_window=draw(mostly(None, (Window("mon-thu 08:00-18:00"),))),
        min_blocked_share=draw(mostly(0.0, 0.5)),
        min_state_age=Duration(draw(mostly(0, 15))),
        state=draw(mostly(None, ("active",), ("active", "idle in transaction"))),
        member_of=draw(LISTS),
        client_addr=draw(mostly(None, (Network("local"),), (Network("10.0.0.0/8"),))),
        statement=draw(mostly(None, (StatementPattern("select .*"), StatementPattern(".*")))),
        usename=draw(LISTS),
        application_name=draw(LISTS),
        protected_usename=draw(mostly(None, ("boss",))),
    )


PROTECTED = mostly(("boss",), ("app",), None)
PROTECTIONS = st.builds(
    Protect,
    usename=PROTECTED,
    application_name=PROTECTED,
    member_of=PROTECTED,
    client_addr=mostly(None, (Network("10.0.0.0/8"),), (Network("local"),)),
    relation=mostly(None, (Qualified("public.orders"),), (Qualified("public.ledger"),)),
    statement=mostly(None, (StatementPattern("select .*"),)),
)


@st.composite
def some_settings(draw: st.DrawFn) -> Mitigation:
    return Mitigation(
        mode="enforce",
        cooldown=Duration(draw(mostly(0, 15))),
        max_actions_per_interval=draw(mostly(1, 0)),
        max_actions_per_5m=draw(mostly(4, 1)),
        max_actions_per_hour=draw(mostly(4, 0, 1)),
        max_terminates_per_hour=draw(mostly(4, 0, 1)),
        max_per_fingerprint_per_hour=draw(mostly(4, 0, 1)),
        queue_policy=draw(mostly("self", "blockers", "none")),
        min_samples=draw(mostly(1, 2)),
        require_approval=draw(mostly(False, False, True)),
        allow_short_waits=draw(mostly(True, False)),
        breaker=draw(mostly(Breaker(), Breaker(recurrence=1), Breaker(open_after_ineffective=1))),
        protect=tuple(draw(st.lists(PROTECTIONS, max_size=1))),
        rules=tuple(draw(one_rule(f"rule{place}")) for place in range(draw(mostly(2, 0, 1, 3)))),
    )


SIGNALS = st.sampled_from(["cancel", "terminate"])


@st.composite
def histories(draw: st.DrawFn, seen: Snapshot) -> History:
    victims = [victim for each in seen.sessions.values() if (victim := Identity.of(each))]
    if not victims:
        return History()
    samples = {victim: draw(st.integers(0, 2)) for victim in victims}
    outcomes = st.sampled_from(get_args(Outcome))
    actions = tuple(
        Action(
            victim=draw(st.sampled_from(victims)),
            signal=draw(SIGNALS),
            rule=draw(st.sampled_from(["rule0", "rule1"])),
            classification="long_query",
            relation=None,
            waiters=(),
            at=ago(draw(st.sampled_from([1, 100, 4000]))),
            outcome=draw(outcomes),
            usename=draw(st.sampled_from(["app", "boss"])),
            fingerprint=draw(st.sampled_from(["long_query public.orders app app", "something else"])),
            worsening=draw(mostly("", "", "connections rose from 10 to 30")),
        )
        for _ in range(draw(mostly(0, 1, 2)))
    )
    return History(
        samples=samples,
        actions=actions,
        opening=draw(mostly(None, None, Opening(ago(50), "why"))),
        reset=draw(mostly(None, Reset(ago(10), "seen to", "ann"))),
        approvals=tuple(
            Approval(
                decision_id(draw(st.sampled_from(victims)), draw(st.sampled_from(["cancel", "terminate"]))),
                ago(1),
                "ann",
            )
            for _ in range(draw(mostly(0, 1, 2)))
        ),
    )


CIRCUMSTANCES = st.builds(
    AgentState,
    leader=mostly(True, False),
    kill_switch=mostly(None, None, "a file"),
    maintenance_until=mostly(None, None, NOW, NOW + timedelta(hours=1)),
    armed=st.booleans(),
    may_signal=mostly(True, None, False),
    watching_since=mostly(None, ago(100), ago(1)),
    sample_age=mostly(0.0, 0.0, 10.0),
    superuser=mostly(False, True),
    pooled=mostly(False, True),
    audit=mostly(None, None, "the disk is full"),
)


@st.composite
def judged(draw: st.DrawFn) -> tuple[Snapshot, Mitigation, History]:
    seen = draw(snapshots())
    return seen, draw(some_settings()), draw(histories(seen))


def never(decision: Decision, seen: Snapshot) -> list[str]:
    """What must never be true of an approved decision, in words of its own and not of the guards."""
    victim = seen.sessions[decision.node]
    diagnosed = diagnose(seen)
    forbidden = {
        "no client": victim.backend_type != "client backend",
        "ourselves": victim.pid == seen.server.own_pid or victim.application_name == "pgdoctor",
        "commits": victim.wait_event == "SyncRep" or (victim.state == "active" and victim.statement == "commit"),
        "in a circle": victim.pid in diagnosed.graph.in_cycle,
        "standby": seen.server.in_recovery,
        "blind": seen.server.hidden_sessions > 0,
        "without identity": None in (victim.backend_start, victim.state, victim.state_change),
        "frees nobody": not decision.waiters,
        "short wait": decision.rule is not None and not any(
            request.waitstart is not None and seen.seconds_since(request.waitstart) >= decision.rule.min_wait  # type: ignore[operator]
            for waiter in decision.waiters
            for request in seen.sessions[waiter.pid].requests
        ),
        "waits for no table lock": bool(victim.blockers)
        and not any(request.locktype == "relation" and request.mode in STRONG for request in victim.requests),
        "idle and cancelled": victim.state != "active" and decision.signal == "cancel",
        "concurrently": victim.state == "active" and "concurrently" in (victim.statement or ""),
    }  # fmt: skip
    return [what for what, is_so in forbidden.items() if is_so]


#: Rules that would allow whatever a rule can allow.
EVERYTHING = [
    settings(*(rule(each, each, action, min_wait=Duration(0)) for each in CLASSES))
    for action in ("terminate", "cancel")
]


@given(judged() | st.tuples(snapshots(), st.sampled_from(EVERYTHING), st.just(History())))
@examples(200)
def test_no_plan_approves_what_must_never_happen(given: tuple[Snapshot, Mitigation, History]) -> None:
    seen, by, history = given
    made = make_plan(diagnose(seen), by, history)
    approved = [decision for decision in made.decisions if decision.approved]
    assert len(approved) <= 1
    for decision in approved:
        assert never(decision, seen) == []
        assert decision.rule in by.rules


@given(judged(), PROTECTIONS)
@examples(60)
def test_more_protection_never_makes_a_session_fit(
    given: tuple[Snapshot, Mitigation, History], protection: Protect
) -> None:
    """It may become the turn of another one that was fit, or the only one left; never of one that was not."""
    seen, by, history = given
    less = make_plan(diagnose(seen), by, history)
    more = make_plan(diagnose(seen), replace(by, protect=(*by.protect, protection)), history)
    for decision in more.decisions:
        [before] = [each for each in less.decisions if each.node == decision.node]
        assert reasons(before) - {"cheaper_cut", "turn"} <= reasons(decision)
    if more.approved:
        victim = seen.sessions[more.approved.node]
        assert protection.find_objection(Subject(victim, seen)) is None
        if less.approved is None:
            [before] = [each for each in less.decisions if each.node == victim.pid]
            assert reasons(before) == {"cheaper_cut"}


LIMITS = (
    *("max_actions_per_interval", "max_actions_per_5m", "max_actions_per_hour"),
    *("max_terminates_per_hour", "max_per_fingerprint_per_hour"),
)


@given(judged(), st.sampled_from(LIMITS), st.integers(0, 4))
@examples(60)
def test_a_smaller_budget_never_adds_an_action(
    given: tuple[Snapshot, Mitigation, History], limit: str, budget: int
) -> None:
    seen, by, history = given
    smaller = replace(by, **{limit: min(budget, getattr(by, limit))})
    approved, with_less = (make_plan(diagnose(seen), each, history).approved for each in (by, smaller))
    assert with_less is None or with_less.victim == (approved.victim if approved else None)


@given(judged(), CIRCUMSTANCES)
@examples(60)
def test_brakes_never_add_an_action(given: tuple[Snapshot, Mitigation, History], amid: AgentState) -> None:
    seen, by, history = given
    free, braked = (make_plan(diagnose(seen), by, history, each).approved for each in (AgentState(), amid))
    assert braked is None or braked.victim == (free.victim if free else None)
    if not amid.leader or amid.kill_switch or amid.may_signal is False or amid.sample_age > by.max_sample_age:
        assert braked is None
    if amid.pooled or amid.audit or (amid.superuser and not by.allow_superuser):
        assert braked is None
    if amid.maintenance_until is not None and amid.maintenance_until > NOW:
        assert braked is None


@given(judged(), st.sampled_from([*EVERYTHING]))
@examples(60)
def test_an_open_breaker_approves_nothing(given: tuple[Snapshot, Mitigation, History], everything: Mitigation) -> None:
    seen, by, history = given
    is_open = replace(history, opening=Opening(ago(5), "why"))
    for each in (by, everything):
        made = make_plan(diagnose(seen), each, is_open)
        assert made.approved is None
        assert made.opening == is_open.opening
        by_itself = make_plan(diagnose(seen), each, history)
        assert by_itself.approved is None or by_itself.opening is None


@given(judged())
@examples(60)
def test_more_polls_asked_for_never_add_an_action(given: tuple[Snapshot, Mitigation, History]) -> None:
    seen, by, history = given
    patient = make_plan(diagnose(seen), replace(by, min_samples=by.min_samples + 1), history).approved
    hasty = make_plan(diagnose(seen), by, history)
    assert patient is None or patient.victim in hasty.fit


@given(judged(), st.sampled_from([None, "cancel", "terminate"]))
@examples(60)
def test_request_for_one_session_gets_it_or_none(given: tuple[Snapshot, Mitigation, History], signal: Any) -> None:
    seen, by, history = given
    for pid in seen.sessions:
        made = make_plan(diagnose(seen), by, history, None, OnlySession(pid, signal)).approved
        assert made is None or (made.pid == pid and signal in (None, made.signal))


@given(judged(), CIRCUMSTANCES)
@examples(60)
def test_h49_every_mode_decides_alike(given: tuple[Snapshot, Mitigation, History], amid: AgentState) -> None:
    """Also where enforce has lapsed: what it does then is what the dry run says."""
    seen, by, history = given
    modes = ("off", "observe", "dry_run", "enforce")
    plans = [make_plan(diagnose(seen), replace(by, mode=mode), history, amid) for mode in modes]
    plans.append(
        make_plan(diagnose(seen), replace(by, armed_until=ago(1)), history, replace(amid, armed=not amid.armed))
    )
    assert all(made == plans[0] for made in plans)


@given(st.data())
@examples(60)
def test_a_hidden_rule_never_decides(data: st.DataObject) -> None:
    """What the loader refuses as unreachable is so."""
    earlier, later = data.draw(one_rule("earlier")), data.draw(one_rule("later"))
    if not is_hidden_by(earlier, later):
        later = replace(
            earlier,
            name="later",
            min_blocked=earlier.min_blocked + data.draw(st.integers(0, 1)),
            min_wait=Duration(earlier.min_wait + data.draw(st.sampled_from([0, 9]))),
            usename=earlier.usename or data.draw(LISTS),
        )
    assert is_hidden_by(earlier, later)
    made = make_plan(diagnose(data.draw(snapshots())), settings(earlier, later), History())
    assert all(decision.rule is not later for decision in made.decisions)
