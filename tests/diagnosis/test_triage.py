"""The answer of the first five minutes, from snapshots and glimpses made by hand."""

import pytest
from msgspec.structs import replace

from pgdoctor.diagnosis.diagnose import diagnose
from pgdoctor.diagnosis.triage import ActivitySample, triage
from pgdoctor.model.server_context import LatestStatement, Rates, RecentChange, ServerContext, Standby
from tests.building import NOW, ago, lock, session, snapshot
from tests.diagnosis.findings.test_thresholds import AROUND, STANDING


def seen(*waits, around=None, **server):
    """What is found of these sessions, each waiting for the one before it for so many seconds."""
    sessions = [session(1, locks=(lock(1, "AccessExclusiveLock", granted=True),))] if waits else []
    sessions += [
        session(2 + place, blockers=(1,), locks=(lock(2 + place, "AccessShareLock", granted=False, seconds=seconds),))
        for place, seconds in enumerate(waits)
    ]
    return diagnose(replace(snapshot(sessions, **server), surroundings=around))


def glimpses(**waits):
    """Ten glimpses at sessions that wait for events of these types."""
    return [ActivitySample({(kind, None if kind == "CPU" else "x"): number for kind, number in waits.items()})] * 10


def test_a_wait_of_a_moment_blocks_too_short_for_a_signal():
    found = triage(seen(0.5, 0.9), glimpses(Lock=2))
    assert (found.hurt, found.advice, found.roots, found.since) == (False, None, (), None)
    assert found.layer == "locks"
    assert found.because == "2.0 of 2.0 active sessions wait for locks, each only briefly"


def test_deadlock_has_no_root_and_is_no_matter_of_replication():
    members = [
        session(pid, blockers=(other,), locks=(lock(pid, "AccessShareLock", granted=False, seconds=5.0),))
        for pid, other in ((1, 2), (2, 1))
    ]
    found = triage(diagnose(snapshot(members)), glimpses(Lock=2))
    assert found.summary == "2 sessions blocked by 1 deadlock, the longest for 5.0 s"
    assert (found.layer, found.because) == ("locks", "2 sessions wait for locks of other sessions")


def samples(*events):
    """Moments with so many active sessions that wait for a table, and so many that compute."""
    return [ActivitySample({("Lock", "relation"): waiting, ("CPU", None): busy}) for waiting, busy in events]


@pytest.mark.parametrize(
    ("events", "hurt"),
    [
        # Most of the time no session is active: of those who are, most wait.
        ([(5, 0), (5, 0), (0, 0), (0, 0)], True),
        ([(5, 4), (5, 5)], True),
        ([(5, 6), (5, 6)], False),
        # A single session that waits for a moment.
        ([(1, 0), (0, 0), (0, 0), (0, 0)], False),
        ([], False),
    ],
)
def test_share_of_active_sessions_that_waited_for_tables_counts(events, hurt):
    assert triage(seen(), samples(*events)).hurt is hurt


def test_short_waits_for_rows_are_the_usual_load():
    busy = [ActivitySample({("Lock", "transactionid"): 9, ("Lock", "tuple"): 5})]
    assert triage(seen(), busy).hurt is False


@pytest.mark.parametrize(("seconds", "hurt"), [(5.0, True), (0.2, False)])
def test_waits_for_rows_count_behind_a_session_that_blocks_for_long(seconds, hurt):
    """The waiters give up by statement_timeout and come again."""
    row = {"locktype": "transactionid", "transactionid": 9, "database": None, "relation": None}
    held = lock(1, "ExclusiveLock", granted=True, **row)
    holder = session(1, state="idle in transaction", locks=(held,), xact_start=ago(seconds), state_change=ago(seconds))
    asked = lock(2, "ShareLock", granted=False, seconds=0.1, **row)
    waiter = session(2, blockers=(1,), locks=(asked,), xact_start=ago(0.1), query_start=ago(0.1))
    busy = [ActivitySample({("Lock", "transactionid"): 1, ("Lock", "tuple"): 5})]
    found = triage(diagnose(snapshot([holder, waiter])), busy)
    assert found.hurt is hurt
    assert [root.node for root in found.roots] == ([1] if hurt else [])


def test_brownout_names_the_request_that_is_retried():
    alter = RecentChange(ago(1), "ddl", 'alter table orders by "deploy"', times=3, first=ago(8))
    found = triage(seen(around=ServerContext(read_at=NOW, changes=(alter,))), samples((5, 0), (0, 0)))
    assert found.summary == (
        "2.5 of 2.5 active sessions waited for locks while observed, each only briefly; "
        'alter table orders by "deploy", for the 3rd time in 8.0 s (a retried request)'
    )
    assert found.layer == "locks"
    assert found.next[0].startswith("ask whether this can be reverted: alter table orders")
    assert found.advice is None


def test_brownout_that_is_seen_names_the_request_and_its_root():
    ages = {"xact_start": ago(1), "query_start": ago(1), "state_change": ago(1)}
    strong = lock(2, "AccessExclusiveLock", granted=False, seconds=0.5)
    sessions = [
        session(1, state="idle in transaction", locks=(lock(1, "AccessShareLock", granted=True),)),
        session(2, blockers=(1,), statement="alter table orders add c int default 7", locks=(strong,), **ages),
        session(3, blockers=(2,), locks=(lock(3, "AccessShareLock", granted=False, seconds=0.4),), **ages),
    ]
    found = triage(diagnose(snapshot(sessions)), samples((2, 0)))
    assert found.hurt is True
    assert 'behind alter table orders add c int default ? by "checkout" (app)' in found.summary
    assert [root.pid for root in found.roots] == [1]


def test_a_long_wait_is_reported_with_its_beginning():
    found = triage(seen(0.5, 30.0), glimpses(Lock=2))
    assert (found.hurt, found.layer, found.since) == (True, "locks", ago(30))
    assert [root.pid for root in found.roots] == [1]
    assert found.advice is not None
    assert found.summary == "1 session blocked by 1 root blocker, the longest for 30 s"


@pytest.mark.parametrize(
    ("waits", "layer"),
    [
        ({}, "elsewhere"),
        ({"CPU": 0.4}, "elsewhere"),
        ({"CPU": 8, "IO": 1}, "CPU"),
        ({"IO": 8, "CPU": 1}, "I/O"),
        ({"LWLock": 5, "IO": 4}, "CPU"),
        ({"Client": 9, "CPU": 1}, "elsewhere"),
        ({"Timeout": 9}, "elsewhere"),
        ({"Unheard": 9}, "CPU"),
    ],
)
def test_the_layer_is_what_most_active_sessions_wait_for(waits, layer):
    found = triage(seen(), glimpses(**waits))
    assert (found.hurt, found.layer) == (False, layer)


def test_the_event_says_more_than_its_type():
    layers = {
        "SyncRep": "replication",
        "ParallelFinish": "CPU",
        "BufferIO": "I/O",
        "BufferIo": "I/O",
        "SafeSnapshot": "locks",
    }
    for event, layer in layers.items():
        assert triage(seen(), [ActivitySample({("IPC", event): 4})]).layer == layer
    assert triage(seen(), [ActivitySample({("LWLock", "WALWrite"): 4})]).layer == "I/O"


@pytest.mark.parametrize(
    ("behind", "lag", "layer"), [(0, 29.0, "elsewhere"), (0, 30.0, "replication"), (1 << 28, None, "replication")]
)
def test_a_standby_that_is_far_behind_is_the_layer(behind, lag, layer):
    around = ServerContext(read_at=NOW, standbys=(Standby("b", None, "streaming", "async", behind, lag),))
    assert triage(seen(around=around), glimpses()).layer == layer


@pytest.mark.parametrize(
    ("known", "why"),
    [
        ({"replay_paused": True}, "replay on this standby is paused"),
        ({"unreplayed": 1 << 30}, "still has to replay 1.0 GB"),
        ({"unreplayed": 1 << 20}, None),
        ({}, None),
    ],
)
def test_a_standby_whose_readers_see_old_data_is_itself_the_layer(known, why):
    around = replace(AROUND, standing=replace(STANDING, **known))
    found = triage(seen(around=around, in_recovery=True), glimpses())
    assert (found.layer == "replication") is (why is not None)
    assert why is None or why in found.because


def test_full_connections_count_but_a_lock_comes_first():
    assert triage(seen(connections=100), glimpses()).layer == "connections"
    assert triage(seen(connections=100), glimpses()).hurt is True
    assert triage(seen(30.0, connections=100), glimpses(Lock=1)).layer == "locks"


SENT = LatestStatement("insert into orders values (?)", ago(1), database="shop")
RETRIES = {"shop": Rates(8, 4)}, {"shop": Rates(10, 0)}, (SENT,)


@pytest.mark.parametrize(
    ("waits", "layer"), [({}, "elsewhere"), ({"Client": 3}, "elsewhere"), ({"CPU": 3}, "CPU"), ({"IO": 3}, "I/O")]
)
def test_clients_that_try_again_are_a_matter_of_the_application_unless_they_keep_the_server_busy(waits, layer):
    lately, usual, latest = RETRIES
    around = ServerContext(read_at=NOW, lately=lately, usual=usual, latest=latest)
    found = triage(seen(around=around), glimpses(**waits))
    assert (found.hurt, found.layer) == (True, layer)
    assert ("check the application that sends them" in found.because) == (layer == "elsewhere")


def test_client_cannot_change_its_start_time():
    around = ServerContext(read_at=NOW, changes=(RecentChange(ago(9), "start", "the server started"),))
    found = triage(seen(30.0, around=around), glimpses(Lock=1))
    assert not any("reverted" in each for each in found.next)


def test_blind_role_does_not_report_health():
    found = triage(seen(hidden_sessions=3), glimpses())
    assert found.hurt is None
    assert "pg_monitor" in found.unseen[0]


def test_of_the_changes_the_one_that_a_user_made_is_to_be_taken_back():
    made = RecentChange(ago(20), "ddl", "alter table")
    changes = (RecentChange(ago(9), "start", "x"), RecentChange(ago(10), "application", "new"), made)
    found = triage(seen(30.0, around=ServerContext(read_at=NOW, changes=changes)), glimpses(Lock=1))
    assert found.next[0] == "ask whether this can be reverted: alter table"
    assert found.changes == (made, changes[1], changes[0])


@pytest.mark.parametrize(
    ("commits", "why"), [(49, "the server is nearly idle"), (50, "the server answers requests at once")]
)
def test_client_that_answers_at_once_is_not_idle(commits, why):
    around = ServerContext(read_at=NOW, lately={"a": Rates(commits)}, usual={"a": Rates()})
    assert triage(seen(around=around), glimpses(CPU=0)).because.startswith(why)


def test_the_pace_is_that_of_all_databases():
    lately = {"a": Rates(3, 1, 0, 9, 1), "b": Rates(6, 0)}
    around = ServerContext(read_at=NOW, lately=lately, usual=dict.fromkeys(lately, Rates()))
    found = triage(seen(around=around), glimpses())
    assert (found.transactions_per_second, found.failing, found.cache_hits) == (10, 0.1, 0.9)


@pytest.mark.parametrize(
    ("events", "because"),
    [
        ({("IPC", "ProcSignalBarrier"): 1}, "a process of the server does not answer (see below)"),
        ({("IPC", "MessageQueueReceive"): 1}, "1.0 of 1.0 active sessions compute"),
    ],
)
def test_wait_for_every_process_of_the_server_is_no_work(events, because):
    found = triage(seen(around=AROUND), [ActivitySample(events)] * 10)
    assert found.because.startswith(because)
    assert bool(found.internal_waits) == ("ProcSignalBarrier" in str(events))


def test_sessions_that_stand_still_without_a_lock_are_worth_acting_on():
    polled = LatestStatement("select locked from databasechangeloglock", ago(5), "pod-7", "app", pid=42)
    found = triage(seen(around=replace(AROUND, latest=(polled,))), glimpses())
    assert found.hurt is False
    assert "asks databasechangeloglock again and again" in found.summary
    assert found.next[0].startswith("tried_lock: its columns lockedby and lockgranted say which one")


def test_wait_for_a_pin_is_not_said_to_be_for_a_lock():
    found = triage(seen(around=AROUND, pin_waiters=1), [ActivitySample({("BufferPin", "BufferPin"): 1})] * 10)
    assert found.because.startswith("no session waits for a lock, but one for a page")
    assert found.next[0].startswith("buffer_pin: ")
