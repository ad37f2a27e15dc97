"""What must never be signalled: each guard with the one change to a sound incident that makes it object."""

from datetime import timedelta

import pytest
from msgspec.structs import replace

from pgdoctor.diagnosis.cause import class_names, may_be_signalled
from pgdoctor.diagnosis.diagnose import diagnose
from pgdoctor.fields import Duration, Window
from pgdoctor.mitigation.candidate import Candidate, Case
from pgdoctor.mitigation.decision import REASONS
from pgdoctor.mitigation.guard import ClearedBy, Guard, ask_guard
from pgdoctor.mitigation.guards import all_guards
from pgdoctor.mitigation.guards.hard_limits import OWN_APPLICATION
from pgdoctor.mitigation.history import Action, History
from pgdoctor.mitigation.plan import make_plan
from pgdoctor.mitigation.rules import Mitigation, Rule
from pgdoctor.model.identity import Identity
from pgdoctor.model.snapshot import PreparedTransaction, Session
from pgdoctor.postgres.dsn import APPLICATION_NAME
from tests.building import ago, lock, session, snapshot
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
    protecting,
    reader,
    reasons,
    rule,
    settings,
)

#: A session that is idle in its transaction with one row lock, and one that waits for the row.
ROW = {"locktype": "transactionid", "database": None, "relation": None, "transactionid": 77}


def holder(**facts: object) -> Session:
    held = (lock(IDLE, "ExclusiveLock", granted=True, **ROW),)
    return session(IDLE, **{"state": "idle in transaction", "locks": held, "has_xid": True, **facts})


def writer(pid: int = 31, *, blockers: tuple[int, ...] = (IDLE,), seconds: float | None = 60.0) -> Session:
    return session(pid, blockers=blockers, locks=(lock(pid, "ShareLock", granted=False, seconds=seconds, **ROW),))


def test_the_sound_incident_is_acted_on() -> None:
    approved = decide(holder(), writer()).approved
    assert approved is not None
    assert (approved.pid, approved.signal, approved.frees) == (IDLE, "terminate", 1)


CHANGES: dict[str, tuple[str, dict[str, object]]] = {
    "an autovacuum worker": ("not_a_client", {"backend_type": "autovacuum worker"}),
    "an apply worker": ("not_a_client", {"backend_type": "logical replication worker"}),
    "a WAL sender": ("not_a_client", {"backend_type": "walsender"}),
    "a parallel worker": ("not_a_client", {"backend_type": "parallel worker"}),
    "a background worker": ("not_a_client", {"backend_type": "pg_cron"}),
    "of a kind that is hidden": ("not_a_client", {"backend_type": None}),
    "with its start hidden": ("hidden", {"backend_start": None}),
    "with its state hidden": ("hidden", {"state": None}),
    "with its change of state hidden": ("hidden", {"state_change": None}),
    "with its statement's start hidden": ("hidden", {"query_start": None}),
    "another pgdoctor": ("own_session", {"application_name": "pgdoctor"}),
    "waiting for a synchronous standby": (
        "sync_rep",
        {"state": "active", "statement": "insert into t values (1)", "wait_event_type": "IPC", "wait_event": "SyncRep"},
    ),
    "committing": ("ending_transaction", {"state": "active", "statement": "COMMIT"}),
    "rolling back": ("ending_transaction", {"state": "active", "statement": "rollback"}),
    "preparing": ("ending_transaction", {"state": "active", "statement": "prepare transaction 'x'"}),
    "building an index concurrently": (
        "concurrently",
        {"state": "active", "statement": "create index concurrently i on orders (v)"},
    ),
    "reindexing concurrently": (
        "concurrently",
        {"state": "active", "statement": "reindex (concurrently) table orders"},
    ),
    "detaching a partition concurrently": (
        "concurrently",
        {"state": "active", "statement": "alter table orders detach partition old concurrently"},
    ),
}

#: One rule for each class that may have one, so that nothing but the guard objects.
ANY_CLASS = settings(
    *(rule(name, name, "terminate", min_wait=Duration(0)) for name in class_names() if may_be_signalled(name))
)


@pytest.mark.parametrize(("guard", "facts"), CHANGES.values(), ids=CHANGES)
def test_never_signalled_is_a_session(guard: str, facts: dict[str, object]) -> None:
    made = decide(holder(**facts), writer(), by=ANY_CLASS)
    assert made.approved is None
    decision = about(made, IDLE)
    assert decision.rule is None or guard in reasons(decision)


@pytest.mark.parametrize(("guard", "facts"), CHANGES.values(), ids=CHANGES)
def test_the_guard_itself_objects(guard: str, facts: dict[str, object]) -> None:
    """Whatever the classes make of it: asked directly, without a rule's class in between."""
    assert ask_guard(named(guard), case(holder(**facts), writer())).objection is not None


@pytest.mark.parametrize("statement", ["commit and chain", "create index concurrently i on orders (v)"])
def test_last_statement_does_not_protect_an_idle_session(statement: str) -> None:
    """COMMIT AND CHAIN leaves a transaction open behind it."""
    for guard in ("ending_transaction", "concurrently"):
        assert ask_guard(named(guard), case(holder(statement=statement), writer())).objection is None


def named(name: str) -> Guard:
    [found] = [guard for guard in all_guards() if guard.name == name]
    return found


def case(*sessions: Session, by: Mitigation = BOTH, history: History | None = None) -> Case:
    seen = diagnosis(*sessions)
    [blocker] = [each for each in seen.blockers if each.pid == IDLE]
    return Case(Candidate(blocker, seen), END_IDLE, "terminate", by, history or History())


#: A term of the rule, what it looks at with how much of that is just right, and what is just not.
BOUNDS = {
    "min_age": (END_IDLE, {"min_age": Duration(60)}, "xact_start", 60, 59.999),
    "max_age": (END_IDLE, {"max_age": Duration(60)}, "xact_start", 60, 60.001),
    "min_state_age": (END_IDLE, {"min_state_age": Duration(60)}, "state_change", 60, 59.999),
    "min_session_age": (END_IDLE, {"min_session_age": Duration(60)}, "backend_start", 60, 59.999),
}


@pytest.mark.parametrize(("guard", "parts"), BOUNDS.items(), ids=BOUNDS)
def test_a_term_holds_to_its_bound(guard: str, parts: tuple[Rule, dict[str, Duration], str, float, float]) -> None:
    rule, term, fact, right, wrong = parts
    asking = replace(rule, **term)

    def said(seconds: float | None, by: Rule = asking) -> str | None:
        facts = {fact: None if seconds is None else ago(seconds)}
        return ask_guard(named(guard), replace(case(holder(**facts), writer()), rule=by)).objection

    assert said(right) is None
    assert "failed" not in str(said(wrong) or "failed")
    if guard == "max_age":
        assert said(None) is None, "there is no transaction"
    else:
        assert "unknown" in str(said(None))
        none_asked = replace(rule, **dict.fromkeys(term, Duration(0)))
        assert said(0.0, none_asked) is said(None, none_asked) is None


def test_a_share_a_wait_and_a_deadlock_timeout_hold_to_their_bounds() -> None:
    def said(guard: str, *, by: Mitigation = BOTH, **term: object) -> str | None:
        asked = case(holder(), writer(), by=by)
        return ask_guard(named(guard), replace(asked, rule=replace(END_IDLE, **term))).objection

    assert said("min_blocked_share", min_blocked_share=0.1) is None
    assert "10%" in str(said("min_blocked_share", min_blocked_share=0.11))
    assert said("min_wait", min_wait=Duration(60)) is None
    assert "wait is 1 min" in str(said("min_wait", min_wait=Duration(60.001)))
    windows = (Window("sat 08:00-18:00"), Window("fri 23:10-23:11"))
    assert said("active_window", active_window=windows) is None


@pytest.mark.parametrize(("waited", "timeout", "stops"), [(60.0, 12.0, False), (60.0, 12.001, True), (None, 1.0, True)])
def test_five_times_the_deadlock_timeout_is_the_least(waited: float | None, timeout: float, stops: bool) -> None:
    seen = diagnosis(holder(), writer(seconds=waited), deadlock_timeout=timeout)
    asked = Case(Candidate(seen.blockers[0], seen), END_IDLE, "terminate", BOTH, History())
    assert bool(ask_guard(named("deadlock_timeout"), asked).objection) is stops
    rehearsing = replace(asked, settings=replace(BOTH, allow_short_waits=True))
    assert ask_guard(named("deadlock_timeout"), rehearsing).objection is None


def test_h17_a_prepared_transaction_is_never_signalled() -> None:
    held = (replace(lock(0, "ExclusiveLock", granted=True, **ROW), pid=None),)
    prepared = PreparedTransaction(node=-1, gid="order-7", transactionid=77, prepared=ago(600), locks=held)
    seen = replace(snapshot([writer(blockers=(-1,))]), prepared=(prepared,))
    made = make_plan(diagnose(seen), ANY_CLASS, History())
    [decision] = made.decisions
    assert (decision.pid, decision.prepared_gid, decision.victim) == (None, "order-7", None)
    assert decision.approved is False


def test_h20_no_session_is_signalled_on_a_standby() -> None:
    assert reasons(about(decide(holder(), writer(), in_recovery=True), IDLE)) == {"recovery"}


def test_h9_no_session_is_signalled_while_sessions_are_hidden() -> None:
    assert reasons(about(decide(holder(), writer(), hidden_sessions=3), IDLE)) == {"visibility"}


def test_missing_evidence_prevents_signals() -> None:
    seen = replace(snapshot([holder(), writer()]), unread=("names could not be read",))
    assert reasons(about(make_plan(diagnose(seen), BOTH, History()), IDLE)) == {"visibility"}


def test_pgdoctors_own_connection_is_not_signalled() -> None:
    assert "own_session" in reasons(about(decide(holder(), writer(), own_pid=IDLE), IDLE))


def test_both_sides_call_pgdoctor_by_the_same_name() -> None:
    assert OWN_APPLICATION == APPLICATION_NAME


def test_h43_session_in_a_circle_is_not_signalled() -> None:
    first = ddl(1, blockers=(2,), locks=(lock(1, "AccessExclusiveLock", granted=False),))
    second = ddl(2, blockers=(1,), locks=(lock(2, "AccessExclusiveLock", granted=False),))
    made = decide(first, second, reader(31, blockers=(1,)))
    assert made.approved is None
    assert all("cycle" in reasons(decision) for decision in made.decisions)


def test_only_a_queued_table_lock_makes_a_waiter_worth_a_signal() -> None:
    """A migration that waits for a row is not cancelled for those behind it: the holder of the row is."""
    held = lock(20, "AccessExclusiveLock", granted=True)
    waits_for_a_row = ddl(20, locks=(held, lock(20, "ShareLock", granted=False, **ROW)), has_xid=True)
    made = decide(holder(), waits_for_a_row, reader(31, blockers=(20,)), by=settings(CANCEL_DDL))
    assert about(made, 20).classification == "migration"
    assert "not_queued" in reasons(about(made, 20))


def test_a_queued_reader_is_not_signalled() -> None:
    queued_reader = reader(20, blockers=(IDLE,), statement="alter table orders add column x int")
    made = decide(idle(), queued_reader, ddl(21, blockers=(20,)))
    assert "not_queued" in reasons(about(made, 20))


@pytest.mark.parametrize("wait", ["ClientRead", "ClientWrite"])
def test_cancel_is_not_sent_to_a_session_that_ignores_it(wait: str) -> None:
    busy = session(IDLE, statement="copy orders from stdin", wait_event_type="Client", wait_event=wait)
    by = settings(rule("slow", "long_query", "cancel"))
    assert reasons(about(decide(busy, writer(), by=by), IDLE)) == {"futile"}


def test_the_ladder_skips_a_cancel_that_would_have_no_effect() -> None:
    busy = session(IDLE, statement="copy orders from stdin", wait_event_type="Client", wait_event="ClientRead")
    by = settings(rule("slow", "long_query", "cancel_then_terminate", grace=Duration(10)))
    approved = decide(busy, writer(), by=by).approved
    assert approved is not None
    assert approved.signal == "terminate"


def test_session_is_not_signalled_for_a_waiter_with_other_blockers() -> None:
    made = decide(idle(), idle(11), ddl(blockers=(IDLE, 11)))
    assert made.approved is None
    assert "min_blocked" in reasons(about(made, IDLE))


def test_a_queued_request_counts_those_that_it_frees_at_once() -> None:
    wants_four = settings(replace(CANCEL_DDL, min_blocked=4))
    assert "min_blocked" in reasons(about(decide(by=wants_four), DDL))
    assert decide(by=settings(replace(CANCEL_DDL, min_blocked=3))).approved is not None


def test_a_session_is_not_cut_for_a_concurrently_command_that_waits_for_its_snapshot() -> None:
    wait = lock(20, "ShareLock", granted=False, locktype="virtualxid", relation=None, database=None, virtualxid="10/1")
    building = ddl(locks=(wait,), statement="create index concurrently i on orders (v)")
    assert "snapshot_wait" in reasons(about(decide(idle(), building), IDLE))
    assert "snapshot_wait" not in reasons(about(decide(idle(), building, reader(31, blockers=(IDLE,))), IDLE))


def test_root_counts_the_sessions_that_follow_in_turn() -> None:
    assert about(decide(by=settings(END_IDLE)), IDLE).frees == 4
    assert decide(by=settings(replace(END_IDLE, min_blocked=4))).approved is not None
    assert decide(by=settings(replace(END_IDLE, min_blocked=5))).approved is None


@pytest.mark.parametrize("seconds", [None, 0.0, 14.9])
def test_a_wait_that_is_short_or_unknown_is_not_enough(seconds: float | None) -> None:
    """Also where the statement, or the transaction, is old: only the server's record of the wait counts."""
    made = decide(holder(), writer(seconds=seconds))
    assert reasons(about(made, IDLE)) - {"deadlock_timeout"} == {"min_wait"}


def test_a_wait_of_a_session_that_the_cut_does_not_free_does_not_count() -> None:
    made = decide(idle(), ddl(seconds=5), reader(31, seconds=60), by=settings(END_IDLE))
    assert reasons(about(made, IDLE)) == {"min_wait"}


@pytest.mark.parametrize("start", [None, ago(29)])
def test_a_transaction_that_is_young_or_of_unknown_age_is_not_enough(start: object) -> None:
    by = settings(replace(END_IDLE, min_age=Duration(30)))
    assert reasons(about(decide(holder(xact_start=start), writer(), by=by), IDLE)) == {"min_age"}


@pytest.mark.parametrize(
    "names",
    [
        {"usename": ("app",)},
        {"datname": ("ledger", "shop")},
        {"application_name": ("reporting",)},
        {"usename": ("nobody",), "application_name": ("reporting",)},
    ],
)
def test_protection_beats_rules(names: dict[str, tuple[str, ...]]) -> None:
    assert reasons(about(decide(idle(), ddl(), by=protecting(**names)), IDLE)) == {"protected"}


@pytest.mark.parametrize("column", ["usename", "datname", "application_name"])
def test_an_unknown_name_may_be_a_protected_one(column: str) -> None:
    assert "protected" in reasons(about(decide(idle(**{column: None}), ddl(), by=protecting(**{column: ("x",)})), IDLE))


@pytest.mark.parametrize("column", ["usename", "datname", "application_name"])
def test_an_unknown_name_is_not_an_allowed_one(column: str) -> None:
    by = settings(replace(END_IDLE, **{column: ("app", "shop", "reporting")}))
    assert decide(idle(), ddl(), by=by).approved is not None
    assert reasons(about(decide(idle(**{column: None}), ddl(), by=by), IDLE)) == {"no_rule"}


def test_later_rule_does_not_touch_a_session_protected_by_an_earlier_one() -> None:
    by = settings(
        rule("careful", "idle_in_transaction", "terminate", min_wait=Duration(3600), protected_usename=("app",)),
        END_IDLE,
    )
    assert reasons(about(decide(idle(), ddl(), by=by), IDLE)) == {"protected"}


def test_a_rule_does_not_protect_other_classes() -> None:
    by = settings(replace(CANCEL_DDL, protected_usename=("app",)), END_IDLE)
    assert decide(idle(), ddl(), by=by).approved is not None


def done(
    outcome: str | None, *, seconds: float = 20.0, victim: Session | None = None, signal: str = "terminate"
) -> Action:
    identity = Identity.of(victim or session(77))
    assert identity is not None
    return Action(
        victim=identity,
        signal=signal,  # type: ignore[arg-type]
        rule="idle",
        classification="idle_in_transaction",
        relation=None,
        waiters=(),
        at=ago(seconds),
        outcome=outcome,  # type: ignore[arg-type]
    )


def after(*actions: Action, by: Mitigation = BOTH) -> set[str]:
    return reasons(about(decide(holder(), writer(), by=by, history=History(actions=actions)), IDLE))


@pytest.mark.parametrize("outcome", ["ineffective", "error", "released"])
def test_a_signal_is_sent_once_for_a_statement(outcome: str) -> None:
    assert after(done(outcome, victim=holder())) == {"already_tried"}


def test_a_signal_that_was_not_sent_may_be_sent() -> None:
    assert after(done("gone", victim=holder())) == set()


def test_another_transaction_of_the_same_session_is_another_matter() -> None:
    assert after(done("ineffective", victim=holder(query_start=ago(100)))) == {"already_tried"}
    assert after(done("ineffective", victim=holder(query_start=ago(100), xact_start=ago(100)))) == set()


def test_signal_refused_for_a_session_is_not_retried() -> None:
    assert after(done("not_permitted", victim=holder(query_start=ago(100), xact_start=ago(100)))) == {"already_tried"}


def test_a_dry_run_announces_a_thing_once() -> None:
    assert after(done("would_act", victim=holder())) == {"already_announced"}
    announced = decide(holder(), writer(), history=History(actions=(done("would_act", victim=holder()),)))
    assert about(announced, IDLE).state == "candidate"


def test_one_action_at_a_time() -> None:
    assert after(done(None)) == {"under_way"}
    assert after(done(None, victim=holder())) == {"under_way"}, "its own, which is not refused, but not settled yet"


def test_after_an_action_comes_the_cool_down() -> None:
    by = replace(BOTH, cooldown=Duration(15))
    assert after(done("released", seconds=14.9), by=by) == {"cooldown"}
    assert after(done("gone", seconds=14.9), by=by) == set()
    assert after(done("released", seconds=15.0), by=by) == set()


def test_a_clock_that_was_set_back_lengthens_the_cool_down() -> None:
    assert after(done("released", seconds=-5), by=replace(BOTH, cooldown=Duration(15))) == {"cooldown"}


def test_the_budget_is_for_an_hour() -> None:
    by = replace(BOTH, max_actions_per_hour=2)
    assert after(done("released", seconds=3599), done("ineffective", seconds=100), by=by) == {"budget"}
    assert after(done("released", seconds=3600), done("ineffective", seconds=100), by=by) == set()
    assert after(done("gone", seconds=3599), done("released", seconds=100), by=by) == set()


def test_no_budget_is_no_action() -> None:
    assert after(by=replace(BOTH, max_actions_per_hour=0)) == {"budget"}


def test_it_has_to_be_the_same_transaction_poll_after_poll() -> None:
    by = replace(BOTH, min_samples=3)
    seen, now = Identity.of(holder()), holder()
    assert seen is not None
    for identity, looks, objects in (
        (seen, 1, True),
        (seen, 2, False),
        (replace(seen, xact_start=seen.state_change + timedelta(microseconds=1)), 9, True),
    ):
        assert identity.transaction is not None
        history = History(transaction_samples={identity.transaction: looks})
        made = decide(now, writer(), by=by, history=history)
        assert reasons(about(made, IDLE)) == ({"persistence"} if objects else set())


def test_a_guard_that_fails_objects() -> None:
    class Broken:
        name = "broken"
        heals = ClearedBy.NEVER

        def find_objection(self, case: Case) -> str | None:
            raise ZeroDivisionError("with a secret")

    said = ask_guard(Broken(), case(holder(), writer())).objection  # type: ignore[arg-type]
    assert said == "the guard failed with ZeroDivisionError"


def test_a_superusers_session_is_left_to_the_server_but_said() -> None:
    approved = decide(holder(is_superuser=True), writer()).approved
    assert approved is not None
    assert "superuser" in approved.notes[0]


def test_every_guard_has_a_name_of_its_own_and_says_what_it_is_for() -> None:
    names = [guard.name for guard in all_guards()]
    assert len(set(names)) == len(names)
    assert set(names) < set(REASONS)
    for guard in all_guards():
        assert type(guard).__doc__, guard


def test_every_guard_is_asked_after_an_objection() -> None:
    decision = about(decide(holder(application_name="pgdoctor", wait_event="SyncRep"), writer()), IDLE)
    assert {verdict.guard for verdict in decision.verdicts} == set(REASONS)
    assert {"own_session", "sync_rep"} <= reasons(decision)
