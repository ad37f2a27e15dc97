"""What can be known of one incident with each setting that decides what the server logs."""

import re
import time
from collections.abc import Callable
from contextlib import suppress

import psycopg
import pytest

from pgdoctor.demo.throwaway_server import ThrowawayServer
from pgdoctor.render.log_report import LogSource, PastIncident, make_log_report
from pgdoctor.render.log_text import describe_course
from pgdoctor.serverlog.judgement import judge_incident
from tests.hammer import hammering
from tests.scenes import Scene
from tests.serverlog.logged import SETTINGS, read_outcome, tail_of


def logged(server: ThrowawayServer, *words: str) -> bytes:
    """A session waits for a row until its lock_timeout, while the holder is idle in its transaction."""
    tail = tail_of(server)
    with Scene(server.dsn) as scene:
        scene.admin.execute("create table orders (id int primary key, v int); insert into orders values (1, 0)")
        holder = scene.client("update orders set v = 1 where id = 1")
        waiter = scene.client("set lock_timeout = '500ms'")
        waiter.run("commit")
        with suppress(psycopg.errors.LockNotAvailable):
            waiter.block("update orders set v = 2 where id = 1").finish()
        holder.run("commit")
        return tail.wait_for(scene, *words)


def incident(data: bytes) -> PastIncident:
    outcome = read_outcome(data)
    judged = [judge_incident(each) for each in outcome.incidents]
    _, [found] = make_log_report(outcome, judged, LogSource((), ()))
    return found


@pytest.mark.parametrize(
    ("settings", "classification"),
    [
        ({}, "unknown"),
        ({"log_statement": "all"}, "unknown"),
        ({"log_statement": "all", "log_duration": "on"}, "idle_in_transaction"),
        ({"log_min_duration_statement": 0}, "idle_in_transaction"),
        ({"log_min_duration_statement": 0, "log_error_verbosity": "verbose"}, "idle_in_transaction"),
        ({"log_min_duration_statement": "1s"}, "unknown"),
        ({"log_disconnections": "on", "log_connections": "on"}, "unknown"),
    ],
    ids=str,
)
def test_class_is_given_where_the_log_shows_enough(
    own_server: Callable[..., ThrowawayServer], settings: dict[str, str | int], classification: str
) -> None:
    found = incident(logged(own_server(settings={**SETTINGS, **settings}), "canceling statement due to lock timeout"))
    assert found.facts.classification == classification
    assert (found.facts.peak_blocked, found.facts.relation) == (1, "orders")
    assert found.facts.outcomes == {"lock_timeout": 1}
    assert 0.4 < found.facts.session_seconds < 30


@pytest.mark.parametrize("settings", [{}, {"log_min_duration_statement": 0}], ids=str)
def test_row_that_changes_hands_has_no_offender(
    own_server: Callable[..., ThrowawayServer], settings: dict[str, str | int]
) -> None:
    server = own_server(settings={**SETTINGS, **settings})
    tail = tail_of(server)
    with Scene(server.dsn) as scene:
        scene.admin.execute("create table orders (id int primary key, v int); insert into orders values (1, 0)")
        with hammering(scene.dsn, 8, lambda _: time.sleep(0.4)):
            tail.wait_for(scene, " acquired ", times=40)
        found = incident(tail.read())
    assert found.facts.classification == "hot_row"
    assert "a row that changes hands" in found.facts.blockers[0].evidence[0]


@pytest.mark.deadline(120)
def test_worker_that_the_server_cancels_is_autovacuum(own_server: Callable[..., ThrowawayServer]) -> None:
    server = own_server(settings={**SETTINGS, "autovacuum_naptime": 1})
    tail = tail_of(server)
    with Scene(server.dsn) as scene:
        slow = "autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1, autovacuum_vacuum_threshold = 1"
        scene.admin.execute(f"create table orders (id int, v text) with ({slow})")
        scene.admin.execute("insert into orders select g, 'x' from generate_series(1, 20000) g")
        scene.admin.execute("delete from orders")
        working = (
            "select 1 from pg_stat_activity where backend_type = 'autovacuum worker' and query like '%public.orders%'"
        )
        scene.wait_until(lambda: scene.admin.execute(working).fetchone(), timeout=60)
        scene.client(autocommit=True).run("alter table orders add column c int", timeout=30)
        logged = tail.wait_for(scene, "canceling autovacuum task", " acquired AccessExclusiveLock ")
    of_worker, waits, gets = (find_entry(logged, words) for words in (b"canceling", b" still waiting ", b" acquired "))
    # The worker may give way while the other session writes its line, which then names that session, or before that.
    for log in (logged, of_worker + waits + gets, of_worker + gets):
        found = incident(log)
        assert found.facts.classification == "autovacuum"
        assert found.facts.outcomes == {"acquired": 1}


def find_entry(log: bytes, words: bytes) -> bytes:
    """The entry with these words and all its lines; empty if there is none."""
    entries = re.split(rb"(?m)^(?=\d{4}-\d\d-\d\d .*?(?:LOG|ERROR): )", log)
    return next((each for each in entries if words in each), b"")


@pytest.mark.parametrize(
    ("settings", "says"),
    [({"log_error_verbosity": "terse"}, "log_error_verbosity"), ({"log_lock_waits": "off"}, "log_lock_waits")],
    ids=str,
)
def test_log_without_holders_says_what_is_missing(
    own_server: Callable[..., ThrowawayServer], settings: dict[str, str], says: str
) -> None:
    found = incident(logged(own_server(settings={**SETTINGS, **settings}), "canceling statement due to lock timeout"))
    assert (found.facts.classification, found.facts.blockers) == ("unknown", ())
    assert found.facts.outcomes == {"lock_timeout": 1}
    assert any(says in sentence for sentence in describe_course(found.facts))
