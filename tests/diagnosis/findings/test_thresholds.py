"""Where findings begin and end, on snapshots made by hand: figures that a real server takes days or a disaster for."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pgdoctor.diagnosis.change_ranking import describe_change
from pgdoctor.diagnosis.diagnose import diagnose
from pgdoctor.diagnosis.finding import SEVERITIES, finding_kinds
from pgdoctor.model.diagnosis import Finding
from pgdoctor.model.server_context import (
    AlteredRelation,
    ClientApplication,
    DatabaseStats,
    FreezeAge,
    HorizonHolder,
    LatestStatement,
    Rates,
    RecentChange,
    ReplicationSlotState,
    ServerContext,
    ServerLimits,
    Standby,
)
from pgdoctor.model.snapshot import Connections
from pgdoctor.observer import recent_changes, workload_baseline
from pgdoctor.observer.observer import Observer
from pgdoctor.observer.workload_baseline import WorkloadHistory
from tests.building import NOW, ago, lock, session, snapshot

GIGABYTE = 1 << 30

STANDING = ServerLimits(
    started=ago(86_400),
    configured=ago(86_400),
    reserved_connections=3,
    freeze_max_age=200_000_000,
    multixact_freeze_max_age=400_000_000,
    max_wal_size=GIGABYTE,
    max_slot_wal_keep_size=None,
    synchronous_standby_names="",
)
AROUND = ServerContext(read_at=NOW, standing=STANDING)

#: Names as only a malicious user chooses them.
HOSTILE = "<script>alert(1)</script>\x1b[2J\u202egnp\n" + "x" * 1_000_000


def found(around: ServerContext, *sessions, **server) -> list[Finding]:
    return list(diagnose(replace(snapshot(sessions, **server), surroundings=around)).findings)


def severity(kind: str, around: ServerContext, **server) -> str | None:
    notes = [note for note in found(around, **server) if note.kind == kind]
    return notes[0].severity if notes else None


def test_an_ordinary_server_has_no_findings():
    assert found(AROUND) == []
    assert found(ServerContext(read_at=NOW)) == []


@pytest.mark.parametrize(
    ("xids", "multixacts", "expected"),
    [
        (200_000_000, 0, None),  # Freezing is forced, and has just begun.
        (399_999_999, 0, None),
        (400_000_000, 0, "warning"),
        (0, 799_999_999, None),
        (0, 800_000_000, "warning"),
        (1_610_612_736, 0, "critical"),
        (0, 2_100_000_000, "critical"),
    ],
)
def test_ids_that_run_out(xids, multixacts, expected):
    around = replace(AROUND, ages=(FreezeAge("template1", 7, 7), FreezeAge("shop", xids, multixacts)))
    assert severity("wraparound", around) == expected


def test_a_limit_that_was_raised_to_the_utmost_does_not_hide_the_danger():
    around = replace(
        AROUND, standing=replace(STANDING, freeze_max_age=2_000_000_000), ages=(FreezeAge("shop", 1_700_000_000, 0),)
    )
    assert severity("wraparound", around) == "critical"


@pytest.mark.parametrize(
    ("xids", "seconds", "expected"),
    [
        (999_999, 60, None),
        (1_000_000, 60, "warning"),
        (10_000, 3_599, None),  # It works.
        (10_000, 3_600, "warning"),
        (9_999, 86_400, None),  # It is idle for a day, on a server that writes nothing.
        (200_000_000, 60, "critical"),
    ],
)
def test_holder_of_the_xmin_horizon_is_named(xids, seconds, expected):
    around = replace(AROUND, holders=(HorizonHolder("session", "7", xids, since=ago(seconds), state="active"),))
    assert severity("vacuum_held_back", around) == expected


@pytest.mark.parametrize(
    ("holder", "seconds", "expected"),
    [
        (HorizonHolder("session", "7", 10_000, state="idle in transaction"), 59, None),
        (HorizonHolder("session", "7", 10_000, state="idle in transaction (aborted)"), 60, "info"),
        (HorizonHolder("session", "7", 9_999, state="idle in transaction"), 3_600, None),
        (HorizonHolder("session", "7", 10_000, state="idle in transaction"), 300, "warning"),
        (HorizonHolder("prepared_transaction", "transfer", 10_000), 300, "warning"),
        (HorizonHolder("session", "7", 10_000, state="idle in transaction", application="pg_dump"), 3_599, None),
        (HorizonHolder("slot", "warehouse", 10_000), 86_400, None),
    ],
)
def test_idle_session_may_hold_vacuum_back_for_minutes(holder, seconds, expected):
    since = None if holder.kind == "slot" else ago(seconds)
    assert severity("vacuum_held_back", replace(AROUND, holders=(replace(holder, since=since),))) == expected


@pytest.mark.parametrize(("feedback", "expected"), [(False, None), (True, "warning")])
def test_a_standby_holds_back_only_what_it_tells_its_primary(feedback, expected):
    standing = replace(STANDING, hot_standby_feedback=feedback)
    around = replace(AROUND, standing=standing, holders=(HorizonHolder("session", "7", 2_000_000, state="active"),))
    assert severity("vacuum_held_back", around, in_recovery=True) == expected


@pytest.mark.parametrize("kind", ["session", "standby", "prepared_transaction", "slot"])
def test_each_kind_of_holder_is_reported_with_what_to_do(kind):
    [note] = found(
        replace(AROUND, holders=(HorizonHolder(kind, "seven", 2_000_000, state="inactive", application="x"),))
    )
    assert note.kind == "vacuum_held_back"
    assert ("seven" in note.summary) == (kind != "standby")
    assert note.advice


@pytest.mark.parametrize(
    ("slot", "limit", "expected"),
    [
        (ReplicationSlotState("a", False, True, "reserved", GIGABYTE, None), None, None),
        (ReplicationSlotState("a", False, True, None, None, None), None, None),
        (ReplicationSlotState("a", False, False, "reserved", (64 << 20) - 1, None), None, None),
        (ReplicationSlotState("a", True, False, "reserved", 64 << 20, None), None, "info"),
        (ReplicationSlotState("a", False, False, "extended", 2 * GIGABYTE, None), None, "warning"),
        (ReplicationSlotState("a", True, True, "extended", 10 * GIGABYTE, None), None, "critical"),
        (ReplicationSlotState("a", True, True, "extended", 10 * GIGABYTE, 5 * GIGABYTE), 15 * GIGABYTE, "warning"),
        (ReplicationSlotState("a", True, True, "extended", 14 * GIGABYTE, GIGABYTE), 15 * GIGABYTE, "critical"),
        (ReplicationSlotState("a", True, False, "unreserved", 16 * GIGABYTE, -GIGABYTE), 15 * GIGABYTE, "critical"),
        (ReplicationSlotState("a", True, False, "lost", None, None), 15 * GIGABYTE, "warning"),
    ],
)
def test_slot_names_the_wal_it_keeps(slot, limit, expected):
    around = replace(AROUND, slots=(slot,), standing=replace(STANDING, max_slot_wal_keep_size=limit))
    assert severity("replication_slot", around) == expected


@pytest.mark.parametrize(
    ("standbys", "seconds", "expected"),
    [
        ((Standby("b", None, "streaming", "sync", 0, 0.0),), 2, None),
        ((Standby("b", None, "streaming", "quorum", 0, 0.0),), 9, None),
        ((Standby("b", None, "streaming", "sync", 0, 0.0),), 10, "critical"),
        ((Standby("b", None, "streaming", "async", 0, 0.0),), 0.1, "critical"),
        ((), 0.1, "critical"),
    ],
)
def test_commits_that_wait_for_a_standby(standbys, seconds, expected):
    standing = replace(STANDING, synchronous_standby_names="b", sync_waiters=3, oldest_sync_wait=ago(seconds))
    assert severity("sync_standby_lost", replace(AROUND, standing=standing, standbys=standbys)) == expected


def herd(fresh, connected=100):
    named = ClientApplication("herd", "app", "10.0.0.5", connected // 2, 0, 0, fresh // 2, addresses=12)
    return {"clients": (named,), "connections": connected, "fresh": fresh}


@pytest.mark.parametrize(
    ("fresh", "pace", "before", "expected"),
    [
        (19, 100.0, 0.1, None),  # Few.
        (24, 100.0, 0.1, None),  # Few of those that there are.
        (60, 9.9, 0.1, None),  # Slow: a pool that starts.
        (60, 100.0, 21.0, None),  # As always.
        (60, 100.0, 20.0, "warning"),
    ],
)
def test_a_storm_of_connections(fresh, pace, before, expected):
    around = replace(
        AROUND, **herd(fresh), lately={"shop": Rates(sessions=pace)}, usual={"shop": Rates(sessions=before)}
    )
    assert severity("connection_storm", around) == expected


@pytest.mark.parametrize(("fresh", "expected"), [(49, None), (50, "warning")])
def test_a_storm_of_connections_at_the_only_poll(fresh, expected):
    assert severity("connection_storm", replace(AROUND, **herd(fresh, 60))) == expected


def test_of_a_herd_from_many_addresses_the_busiest_is_named():
    [note] = found(replace(AROUND, **herd(60, 60)))
    assert note.evidence == ('"herd" (app from 10.0.0.5, the busiest of 12): 30 new of 30',)


def senders(number, began=1.0, statement="update orders set v = ?", **known):
    return tuple(LatestStatement(statement, ago(began), database="shop", **known) for _ in range(number))


@pytest.mark.parametrize(
    ("pace", "before", "latest", "latest_before", "expected"),
    [
        (Rates(8, 2.1), Rates(10, 0), senders(3), (), "warning"),
        (Rates(8, 1.9), Rates(10, 0), senders(3), (), None),  # Few fail.
        (Rates(198, 2), Rates(200, 0), senders(3), (), None),  # A hundredth, and no more.
        (Rates(980, 20), Rates(1_000, 0), senders(3), (), "warning"),  # In the midst of much else.
        (Rates(5_000, 20), Rates(5_000, 0), senders(3), (), None),
        (Rates(8, 2.1), Rates(10, 1), senders(3), (), None),  # Not three times the usual share.
        (Rates(100, 90), Rates(10, 9), senders(3), (), None),  # A pool that rolls everything back, on a busy day.
        (Rates(8, 2.1), Rates(10, 0), senders(1), (), "warning"),  # One client that does not wait is enough.
        (Rates(8, 2.1), Rates(10, 0), senders(3, began=11), (), None),  # No session sends any more.
        (Rates(8, 2.1), Rates(10, 0), senders(3), senders(3), None),  # As many as before.
        (Rates(8, 2.1), Rates(10, 0), senders(3, is_troubled=True), senders(3), "warning"),  # It has worked before.
        (Rates(8, 2.1), Rates(10, 0), senders(9, statement="rollback"), (), None),
    ],
)
def test_a_storm_of_retries(pace, before, latest, latest_before, expected):
    around = replace(AROUND, lately={"shop": pace}, usual={"shop": before}, latest=latest, latest_before=latest_before)
    assert severity("retry_storm", around) == expected


def test_statements_of_another_database_do_not_count():
    around = replace(
        AROUND, lately={"shop": Rates(8, 4), "other": Rates(9, 0)}, usual={"shop": Rates(), "other": Rates()}
    )
    elsewhere = replace(around, latest=tuple(replace(each, database="other") for each in senders(3)))
    assert severity("retry_storm", elsewhere) is None


def test_of_the_statements_the_one_that_has_become_more_is_named():
    popular = senders(20, statement="select ?")
    around = replace(
        AROUND,
        lately={"shop": Rates(100, 50)},
        usual={"shop": Rates(100, 0)},
        latest=(*popular, *senders(5)),
        latest_before=popular[:19],
    )
    [note] = found(around)
    assert note.evidence[0] == "update orders set v = ?"
    assert (note.numbers["clients"], note.numbers["clients_before"]) == (5, 0)


@pytest.mark.parametrize(
    ("connections", "expected"), [(87, None), (88, "warning"), (96, "warning"), (97, "critical"), (100, "critical")]
)
def test_connections_are_counted_against_what_ordinary_users_get(connections, expected):
    assert severity("connection_saturation", AROUND, connections=connections) == expected


def test_idle_transactions_that_fill_the_connections_are_neither_work_nor_a_matter_of_pooling():
    [note] = found(AROUND, connections=95, connections_by_state=Connections(idle=5, idle_in_transaction=85))
    assert "5 of them idle, 85 idle in transaction" in note.summary
    assert note.advice.startswith("terminate the oldest session that is idle in transaction")


def test_busy_connections_get_the_advice_to_find_their_wait():
    [note] = found(AROUND, connections=95, connections_by_state=Connections(active=90, idle=5))
    assert "first find what they wait for" in note.advice


CHANGES = (
    RecentChange(ago(120), "ddl", 'alter table orders by "deploy"'),
    RecentChange(ago(300), "start", "the server started"),
)


@pytest.mark.parametrize(("seconds", "expected"), [(None, []), (4.9, []), (5.0, ["recent_changes"])])
def test_changes_are_reported_when_a_session_is_blocked(seconds, expected):
    waiting = [
        session(1, locks=(lock(1, "AccessExclusiveLock", granted=True),)),
        session(2, blockers=(1,), locks=(lock(2, "AccessShareLock", granted=False, seconds=seconds),)),
    ]
    notes = found(replace(AROUND, changes=CHANGES), *(waiting if seconds else waiting[:1]))
    assert [note.kind for note in notes] == expected
    if notes:
        told = '2 changes within the last 15 min, the most suspicious 2 min 0 s ago: alter table orders by "deploy"'
        assert notes[0].summary == told


@pytest.mark.parametrize(
    ("changes", "advice"),
    [(CHANGES, "ask its owner whether it can be reverted"), (CHANGES[1:], "it cannot be reverted: check what clients")],
)
def test_a_start_of_the_server_is_not_to_be_reverted(changes, advice):
    waiting = [
        session(1, locks=(lock(1, "AccessExclusiveLock", granted=True),)),
        session(2, blockers=(1,), locks=(lock(2, "AccessShareLock", granted=False, seconds=9.0),)),
    ]
    [note] = found(replace(AROUND, changes=changes), *waiting)
    assert note.advice.startswith(advice)


def test_unreadable_server_context_is_reported():
    [note] = found(replace(AROUND, unread=("ages could not be read: canceling statement due to lock timeout",)))
    assert note.kind == "evidence"


# What is usual


def after_looks(*paces: Rates, stormy: bool = False, seconds: float = 15.0) -> WorkloadHistory:
    """What is remembered after looks in which the database has worked at these paces."""
    past, work, at = WorkloadHistory(), DatabaseStats(), NOW
    for pace in (Rates(), *paces):
        gained = {name: round(getattr(pace, name) * seconds) for name in Rates.__struct_fields__}
        work = DatabaseStats(**{name: getattr(work, name) + number for name, number in gained.items()})
        at += timedelta(seconds=seconds)
        now = workload_baseline.with_pace(ServerContext(read_at=at, standing=STANDING, work={"shop": work}), past)
        past = workload_baseline.extend_history(past, now, stormy)
    return past


def test_usual_rate_is_the_median_of_the_last_polls():
    past = after_looks(*[Rates(commits=100)] * 6, Rates(commits=10_000))
    now = ServerContext(read_at=past.read_at + timedelta(seconds=10), work=past.work)
    assert workload_baseline.with_pace(now, past).usual == {"shop": Rates(commits=100)}


def test_before_there_are_enough_polls_it_is_the_average_of_all_time():
    past = WorkloadHistory(read_at=NOW, started=ago(1_000), work={"shop": DatabaseStats(commits=5_000)})
    now = ServerContext(read_at=NOW + timedelta(seconds=2), work={"shop": DatabaseStats(commits=5_200)})
    seen = workload_baseline.with_pace(now, past)
    assert (seen.lately["shop"].commits, seen.usual["shop"].commits) == (100, 5)


def test_of_a_young_server_it_is_unknown_how_many_sessions_are_usual():
    past = WorkloadHistory(
        read_at=NOW, started=ago(599), work={"shop": DatabaseStats(commits=599, rollbacks=599, sessions=1_000_000)}
    )
    now = ServerContext(read_at=NOW + timedelta(seconds=2), work=past.work)
    assert workload_baseline.with_pace(now, past).usual["shop"] == Rates(commits=1, rollbacks=1)


def test_sessions_before_a_known_rate_are_no_measure():
    first = ServerContext(read_at=NOW, work={"shop": DatabaseStats()}, latest=senders(3))
    assert (
        workload_baseline.extend_history(
            WorkloadHistory(), workload_baseline.with_pace(first, WorkloadHistory()), False
        ).latest
        == ()
    )


def test_nothing_is_learnt_from_a_storm_until_it_has_become_the_way_of_working():
    assert after_looks(*[Rates(rollbacks=50)] * 20, stormy=True).looks == ()
    assert len(after_looks(*[Rates(rollbacks=50)] * 130, stormy=True).looks) > 4


def test_counters_that_were_reset_tell_nothing():
    past = WorkloadHistory(read_at=NOW, work={"shop": DatabaseStats(commits=5_000)})
    now = ServerContext(
        read_at=NOW + timedelta(seconds=2), work={"shop": DatabaseStats(commits=1), "new": DatabaseStats(commits=7)}
    )
    assert workload_baseline.with_pace(now, past).lately == {}


@given(st.lists(st.builds(Rates, *[st.floats(0, 1e6)] * 5), max_size=100))
def test_memory_is_bounded(paces):
    assert len(after_looks(*paces).looks) <= 40


# What has changed


def seen_at(seconds, *applications, latest=(), **more):
    clients = tuple(ClientApplication(name, "app", None, 5, 5, 0, 0, ago(40_000)) for name in applications)
    return ServerContext(
        **{"read_at": ago(-seconds), "standing": STANDING, "clients": clients, "latest": latest, **more}
    )


def after(*contexts):
    """What is notified of changes after the last of these readings."""
    seen = recent_changes.KnownRelations()
    for each in contexts:
        seen = recent_changes.extend_known(seen, each)
    return recent_changes.with_changes(contexts[-1], seen).changes


def test_no_application_is_new_before_there_is_a_baseline():
    old, both = ("checkout 1.4.1",), ("checkout 1.4.1", "checkout 1.4.2")
    assert after(seen_at(0, *old), seen_at(28, *both)) == ()
    assert after(seen_at(0, *old), seen_at(899, *both)) == ()


def test_application_that_was_not_seen_in_the_baseline_is_new():
    seen = recent_changes.extend_known(recent_changes.KnownRelations(), seen_at(0, "checkout 1.4.1"))
    seen = recent_changes.extend_known(seen, seen_at(885, "checkout 1.4.1"))
    seen = recent_changes.extend_known(seen, seen_at(900, "checkout 1.4.1", "checkout 1.4.2"))
    [change] = recent_changes.with_changes(seen_at(900), seen).changes
    assert change.what == '"checkout 1.4.2" connected, for the first time in 15 min 0 s'
    assert (change.kind, change.is_exact, change.after) == ("application", False, ago(-885))
    seen = recent_changes.extend_known(seen, seen_at(915, "checkout 1.4.2"))
    assert recent_changes.with_changes(seen_at(915), seen).changes == (change,)
    assert recent_changes.with_changes(seen_at(900 + 901), seen).changes == ()
    # A reconnect makes nothing new.
    carried = recent_changes.carry_over(seen)
    assert recent_changes.extend_known(carried, seen_at(930, "checkout 1.4.1")).changes == (change,)


def test_monitoring_sessions_are_no_change():
    seen = recent_changes.extend_known(recent_changes.KnownRelations(), seen_at(0, "checkout"))
    seen = recent_changes.extend_known(seen, seen_at(15, "checkout", "pgdoctor"))
    assert recent_changes.with_changes(seen_at(15), seen).changes == ()


def test_an_application_whose_connections_are_all_new_came_of_late():
    new = ClientApplication("checkout", "app", None, 3, 3, 0, 3, ago(7))
    seen = recent_changes.extend_known(recent_changes.KnownRelations(), replace(seen_at(0), clients=(new,)))
    [change] = recent_changes.with_changes(seen_at(0), seen).changes
    assert (change.at, change.what) == (ago(7), '"checkout" connected: none of its 3 connections is older')
    young = replace(STANDING, started=ago(800))
    contexts = replace(seen_at(0), clients=(new,), standing=young)
    assert [change.kind for change in after(contexts)] == ["start"]


def test_ddl_is_remembered_and_temporary_tables_are_nobodys_business():
    latest = (
        LatestStatement("create temp table t (i int)", ago(5)),
        LatestStatement("alter table orders add column c text", ago(4), "deploy", "app"),
        LatestStatement("select ?", ago(3)),
    )
    seen = recent_changes.extend_known(recent_changes.KnownRelations(), seen_at(0, latest=latest))
    seen = recent_changes.extend_known(seen, seen_at(15))
    [change] = recent_changes.with_changes(seen_at(15), seen).changes
    assert change == RecentChange(ago(4), "ddl", 'alter table orders add column c text by "deploy" (app)')


ALTERED = "table public.orders was created, altered or rewritten"
ORDERS = AlteredRelation(7, 900, "r", "public.orders", "orders")
INDEX = AlteredRelation(8, 900, "i", "public.orders_pkey", "orders_pkey", table_oid=7)


def test_change_between_two_polls_is_reported_once():
    seen = recent_changes.extend_known(recent_changes.KnownRelations(), seen_at(0))
    for second in (15, 30):  # Listed again, for a session has a transaction open.
        seen = recent_changes.extend_known(seen, seen_at(second, altered=(ORDERS, INDEX)))
    [change] = recent_changes.with_changes(seen_at(30), seen).changes
    assert change == RecentChange(ago(0), "ddl", ALTERED, is_exact=False)
    again = replace(ORDERS, written_by=901)
    seen = recent_changes.extend_known(seen, seen_at(45, altered=(again, ORDERS)))
    assert [each.times for each in recent_changes.with_changes(seen_at(45), seen).changes] == [2]


def test_relation_of_a_transaction_that_was_there_before_has_no_time():
    """An open transaction makes the server tell of it again, whenever it was altered."""
    [change] = after(seen_at(0, next_xid=901), seen_at(2, altered=(ORDERS,), is_altered_read=True, next_xid=901))
    assert (change.at, change.is_exact, change.after) == (ago(0), False, None)
    said = describe_change(change, ago(-2))
    assert said == f"at an unknown time before 23:10:00 UTC: {ALTERED}"


@pytest.mark.parametrize("next_xid", [900, 2**32 + 900, 2**32 * 3 + 890])
def test_relation_of_a_later_transaction_has_bounds(next_xid):
    [change] = after(seen_at(0, next_xid=next_xid), seen_at(15, altered=(ORDERS,), is_altered_read=True))
    assert (change.at, change.is_exact, change.after) == (ago(-15), False, ago(0))
    assert describe_change(change, ago(-20)) == f"within the last 20 s: {ALTERED}"


def test_relation_that_the_last_complete_reading_did_not_show_has_bounds():
    known = seen_at(15, is_altered_read=True, next_xid=901)
    [change] = after(seen_at(0), known, seen_at(30, altered=(ORDERS,), is_altered_read=True))
    assert (change.at, change.after) == (ago(-30), ago(-15))


def test_kept_commit_timestamp_is_the_time():
    assert after(seen_at(0), seen_at(2, altered=(replace(ORDERS, committed=ago(5)),)))[0] == RecentChange(
        ago(5), "ddl", ALTERED
    )
    assert after(seen_at(0), seen_at(2, altered=(replace(ORDERS, committed=ago(5_000)),))) == ()


def test_statement_that_is_sent_again_and_again_is_one_change():
    def sent(second):
        return seen_at(
            second, latest=(LatestStatement("alter table orders add c text", ago(-second), "deploy", "app"),)
        )

    [change] = after(*map(sent, (0, 15, 30)))
    assert (change.at, change.times, change.first) == (ago(-30), 3, ago(0))
    said = 'alter table orders add c text by "deploy" (app), for the 3rd time in 32 s'
    assert describe_change(change, ago(-32)) == f"2.0 s ago: {said}"


PRIMARY = {"standing": replace(STANDING, timeline=1), "system_identifier": "7"}


@pytest.mark.parametrize(
    ("now", "kind", "what"),
    [
        (PRIMARY, None, None),
        ({**PRIMARY, "standing": replace(STANDING, timeline=1, started=ago(-5))}, "restart", "the server restarted"),
        ({**PRIMARY, "standing": replace(STANDING, timeline=2)}, "failover", "the timeline is 2, and was 1"),
        ({**PRIMARY, "system_identifier": "8"}, "failover", "its system identifier differs"),
        ({**PRIMARY, "system_identifier": ""}, None, None),
        ({**PRIMARY, "in_recovery": True}, "failover", "a standby answers where a primary was"),
    ],
)
def test_restart_and_failover_are_changes(now, kind, what):
    changes = after(seen_at(0, **PRIMARY), seen_at(15, **now))
    assert [change.kind for change in changes] == ([kind] if kind else [])
    if kind == "failover":
        assert what in changes[0].what
        assert (changes[0].after, changes[0].at) == (ago(0), ago(-15))
    elif kind:
        assert (changes[0].what, changes[0].at) == (what, ago(-5))


def test_promotion_of_a_standby_is_a_failover():
    [change] = after(seen_at(0, **PRIMARY, in_recovery=True), seen_at(15, **PRIMARY))
    assert "promoted" in change.what


def test_ddl_of_the_blocking_chain_is_the_most_suspicious():
    chain = [
        session(1, locks=(lock(1, "AccessExclusiveLock", granted=True),)),
        session(2, blockers=(1,), locks=(lock(2, "AccessShareLock", granted=False, seconds=9.0),)),
    ]
    changes = (
        RecentChange(ago(1), "application", "x connected"),
        RecentChange(ago(2), "ddl", "create table orders_old (i int)"),
        RecentChange(ago(3), "ddl", "table public.users was created", is_exact=False),
        RecentChange(ago(700), "ddl", 'alter table Orders add c text by "deploy"'),
        RecentChange(ago(800), "start", "the server started"),
    )
    [note] = found(replace(AROUND, changes=changes), *chain)
    assert note.summary.startswith("5 changes within the last 15 min, the most suspicious 11 min 40 s ago: alter table")
    assert [line.partition(": ")[2][:12] for line in note.evidence] == [
        "alter table ",
        "create table",
        "x connected",
        "the server s",
        "table public",
    ]


def test_statement_is_not_reported_twice():
    latest = (LatestStatement("ALTER TABLE Orders ADD c text", ago(-4), "deploy", "app"),)
    seen = recent_changes.extend_known(recent_changes.KnownRelations(), seen_at(0))
    seen = recent_changes.extend_known(seen, replace(seen_at(15, latest=latest), altered=(ORDERS,)))
    [change] = recent_changes.with_changes(seen_at(15), seen).changes
    assert change.what.startswith("ALTER TABLE")


def test_a_start_and_a_reload_are_news_for_a_quarter_of_an_hour():
    standing = replace(STANDING, started=ago(800), configured=ago(30))
    told = recent_changes.with_changes(replace(AROUND, standing=standing), recent_changes.KnownRelations()).changes
    assert [change.kind for change in told] == ["reload", "start"]
    standing = replace(STANDING, started=ago(901), configured=ago(901))
    assert (
        recent_changes.with_changes(replace(AROUND, standing=standing), recent_changes.KnownRelations()).changes == ()
    )


def test_names_that_change_all_the_time_do_not_fill_the_memory():
    seen = recent_changes.KnownRelations()
    for number in range(30):
        seen = recent_changes.extend_known(seen, seen_at(number, *(f"worker {number} {each}" for each in range(100))))
    assert len(seen.applications) == 1_000
    assert len(seen.changes) <= 50


def test_the_surroundings_are_remembered_once_however_often_they_are_judged():
    memory = Observer()
    around = replace(AROUND, **herd(0), latest=senders(3))
    for second in range(5):
        diagnosis = memory.diagnose_snapshot(replace(snapshot([], at=ago(-second)), surroundings=around))
        assert diagnosis.findings == ()
    later = replace(
        around, read_at=ago(-900), clients=(*around.clients, ClientApplication("new", None, None, 1, 0, 0, 0))
    )
    seen = memory.diagnose_snapshot(replace(snapshot([], at=ago(-900)), surroundings=later)).snapshot.surroundings
    assert [change.what for change in seen.changes] == ['"new" connected, for the first time in 15 min 0 s']


# Names that a user chose


@pytest.mark.parametrize("name", [HOSTILE, "\u202e", "", "a\x00b", "\ud800"], ids=range(5))
def test_no_name_breaks_out_of_its_line(name):
    around = replace(
        AROUND,
        clients=(ClientApplication(name, name, name[:20], 95, 50, 5, 90),),
        holders=(
            HorizonHolder("session", "7", 2_000_000, None, "active", name, name, name),
            HorizonHolder("slot", name, 2_000_000),
        ),
        slots=(ReplicationSlotState(name, True, False, "lost", None, None, name),),
        ages=(FreezeAge(name, 2_000_000_000, 0),),
        standing=replace(STANDING, synchronous_standby_names=name, sync_waiters=1),
    )
    notes = found(around, connections=99)
    wanted = {"connection_saturation", "vacuum_held_back", "replication_slot", "wraparound", "sync_standby_lost"}
    assert {note.kind for note in notes} >= wanted
    for note in notes:
        for text in (note.summary, note.advice, *note.evidence):
            assert len(text) < 1_000
            assert text.isprintable()
        assert note.kind in finding_kinds()
        assert note.severity in SEVERITIES
