"""Replay on a real standby that a session holds up: by a lock, a snapshot or a pinned buffer; and readers behind it."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from pgdoctor.demo.throwaway_server import ThrowawayServer
from pgdoctor.postgres.collect import Collector
from pgdoctor.postgres.connection import Connection
from tests.agent.running import RunningAgent
from tests.diagnosis.findings.observing import kinds, observer
from tests.forked import pgdoctor
from tests.scenes.client import Client, wait_until
from tests.standby import standby_of

pytestmark = [pytest.mark.long, pytest.mark.deadline(120)]


class Pair(NamedTuple):
    """A primary and its standby; `ask` is a session of ours on the standby."""

    primary: psycopg.Connection
    ask: psycopg.Connection
    dsn: str

    def has_replayed(self):
        [end] = self.primary.execute("select pg_current_wal_lsn()").fetchone()
        return self.ask.execute("select pg_last_wal_replay_lsn() >= %s::pg_lsn", [end]).fetchone()[0]

    def waits(self):
        query = "select wait_event_type || ':' || wait_event from pg_stat_activity where backend_type = 'startup'"
        return self.ask.execute(query).fetchone()[0]

    def configure(self, **settings):
        for name, value in settings.items():
            self.ask.execute(f"alter system set {name} = '{value}'")
        self.ask.execute("select pg_reload_conf()")
        for name, value in settings.items():
            wait_until(lambda name=name, value=value: self._shows(name) == value)

    def _shows(self, name):
        # A setting is read again between two statements only.
        with psycopg.connect(self.dsn, autocommit=True) as fresh:
            return fresh.execute("select current_setting(%s)", [name]).fetchone()[0]


@pytest.fixture(scope="module")
def servers(bindir) -> Iterator[Pair]:
    with ThrowawayServer(bindir=bindir) as primary, standby_of(primary) as standby:
        dsn = make_conninfo(primary.dsn, port=standby.port)
        with (
            psycopg.connect(primary.dsn, autocommit=True) as writing,
            psycopg.connect(dsn, autocommit=True) as asking,
        ):
            yield Pair(writing, asking, dsn)


@pytest.fixture
def pair(servers: Pair) -> Iterator[Pair]:
    servers.primary.execute("create table orders (id int primary key, v int)")
    servers.primary.execute("insert into orders select n, n from generate_series(1, 5000) n")
    servers.primary.execute("vacuum (freeze) orders")
    wait_until(servers.has_replayed)
    servers.configure(max_standby_streaming_delay="10min", hot_standby_feedback="off")
    yield servers
    servers.primary.execute("drop table orders")
    wait_until(servers.has_replayed)


@contextmanager
def session(pair, *statements, autocommit=False, application_name="report"):
    with psycopg.connect(pair.dsn, autocommit=autocommit, application_name=application_name) as connection:
        for statement in statements:
            connection.execute(statement)
        yield connection
        # What the server has terminated cannot be rolled back, and need not be.
        if not connection.closed:
            connection.rollback()


def told(pair):
    with observer(pair.dsn) as seen:
        return seen.note("replay_held_back")


def test_short_queries_are_no_conflict(pair):
    with observer(pair.dsn) as seen:
        for _ in range(3):
            pair.ask.execute("select count(*) from orders")
            pair.primary.execute("delete from orders where id <= 100")
            pair.primary.execute("vacuum orders")
            pair.primary.execute("alter table orders alter v set default 1")
            wait_until(pair.has_replayed)
            assert "replay_held_back" not in kinds(seen.look())


def test_holder_of_a_lock_that_replay_wants_is_named(pair):
    with session(pair, "select from orders where id = 4711") as reader:
        pair.primary.execute("alter table orders add column w int")
        wait_until(lambda: pair.waits() == "Lock:relation")
        with observer(pair.dsn) as seen:
            note = seen.wait_for("replay_held_back")
        pid = reader.info.backend_pid
        assert note.severity == "warning"
        assert "for AccessExclusiveLock on public.orders" in note.summary
        assert f'session {pid} of "report" (postgres) holds AccessShareLock on it' in note.summary
        assert note.advice.startswith(f"end the transaction of {pid}, or wait: the server terminates it in 9 min")
        assert "(max_standby_streaming_delay = 10 min 0 s)" in note.advice
        assert note.numbers["seconds"] >= 1
        assert note.numbers["delay_seconds"] == 600
        assert note.numbers["unreplayed_bytes"] > 0
        evidence = "\n".join(note.evidence)
        assert "idle in transaction" in evidence
        assert "select from orders where id = ?" in evidence
        assert "4711" not in evidence.replace(str(pid), "")
    wait_until(pair.has_replayed)
    with observer(pair.dsn) as seen:
        assert "replay_held_back" not in kinds(seen.look())


def test_readers_behind_replay_are_notified_of_the_session_that_it_waits_for(pair):
    with session(pair, "select from orders") as holder, session(pair, autocommit=True) as reading:
        pair.primary.execute("alter table orders add column w int")
        wait_until(lambda: pair.waits() == "Lock:relation")
        reader = Client(reading, pair.ask).block("select count(*) from orders")
        with observer(pair.dsn) as seen:
            seen.wait_for("replay_held_back")
            [blocker] = seen.look().blockers
        pid = holder.info.backend_pid
        assert (blocker.classification, blocker.root, blocker.blocked_sessions) == ("replication", True, 1)
        assert blocker.recommendation.action == "none"
        assert f"end the transaction of {pid}, or wait" in blocker.recommendation.reason
        evidence = "\n".join(blocker.evidence)
        assert "waits itself: has waited" in evidence
        assert f"session {pid} of" in evidence
        assert "the server terminates it in 9 min" in evidence
        facts = json.loads(pgdoctor("triage", "--format", "json", "--dsn", pair.dsn).stdout)
        assert (facts["layer"], facts["hurt"]) == ("replication", True)
        assert any(f"end the transaction of {pid}" in step for step in facts["next"])
        shown = json.loads(pgdoctor("diagnose", "--format", "json", "--dsn", pair.dsn).stdout)
        assert [(wait["blocked_pid"], wait["blocking_pid"]) for wait in shown["waits"]] == [(reader.pid, blocker.pid)]
        holder.rollback()
        reader.finish()


def test_lock_of_a_transaction_that_is_open_on_the_primary_is_said_to_be_its_own(pair):
    with psycopg.connect(pair.primary.info.dsn, password=pair.primary.info.password) as migration:
        migration.execute("lock table orders in access exclusive mode")
        migration.execute("create table filler (id int)")
        pair.primary.execute("select pg_switch_wal()")
        wait_until(pair.has_replayed)
        with session(pair, autocommit=True) as reading:
            reader = Client(reading, pair.ask).block("select count(*) from orders")
            with observer(pair.dsn) as seen:
                found = seen.look()
            [blocker] = found.blockers
            assert "replay_held_back" not in kinds(found)
            evidence = "\n".join(blocker.evidence)
            assert "holds AccessExclusiveLock on public.orders, as a transaction of the primary does" in evidence
            assert "that transaction is still open on the primary" in evidence
            assert "end that transaction there" in blocker.recommendation.reason
            migration.rollback()
            reader.finish()


def test_session_with_the_oldest_snapshot_is_named(pair):
    with session(pair, "set transaction isolation level repeatable read", "select from orders") as old:
        pair.primary.execute("delete from orders where id <= 2500")
        pair.primary.execute("vacuum (truncate false) orders")
        wait_until(lambda: pair.waits() == "IPC:RecoveryConflictSnapshot")
        with session(pair, "set transaction isolation level repeatable read", "select from pg_class") as innocent:
            note = told(pair)
            assert innocent.info.backend_pid not in note.numbers.values()
            assert str(innocent.info.backend_pid) not in "\n".join((note.summary, *note.evidence))
        pid = old.info.backend_pid
        assert f'session {pid} of "report" (postgres) has the oldest snapshot' in note.summary
        assert "has waited at least 1." in note.summary
        assert "hot_standby_feedback = off" in note.evidence[-1]
        assert note.numbers["sessions"] == 1


def test_endless_delay_is_said_and_a_running_query_would_be_cancelled(pair):
    pair.configure(max_standby_streaming_delay="-1")
    with session(pair, "set transaction isolation level repeatable read", "select from orders"):
        pair.primary.execute("delete from orders where id <= 2500")
        pair.primary.execute("vacuum (truncate false) orders")
        wait_until(lambda: pair.waits() == "IPC:RecoveryConflictSnapshot")
        assert "the server never cancels it (max_standby_streaming_delay = -1)" in told(pair).advice


def test_server_ends_the_session_no_later_than_said(pair):
    pair.configure(max_standby_streaming_delay="3s")
    with session(pair, "select from orders") as idle:
        pair.primary.execute("alter table orders add column w int")
        with observer(pair.dsn) as seen:
            advice = seen.wait_for("replay_held_back").advice
        assert "the server terminates it in " in advice
        assert "at the latest (max_standby_streaming_delay = 3.0 s)" in advice
        wait_until(pair.has_replayed, timeout=20)
        with pytest.raises(psycopg.OperationalError, match="conflict with recovery"):
            idle.execute("select 1")


def test_holders_of_a_pinned_buffer_are_candidates(pair):
    # What vacuum will remove is older than the snapshot, so that only the pin is in its way.
    pair.primary.execute("update orders set v = v + 1 where id % 2 = 0")
    wait_until(pair.has_replayed)
    with session(pair, "declare reading cursor for select * from orders", "fetch 1 from reading") as pinning:
        pair.primary.execute("vacuum (truncate false) orders")
        wait_until(lambda: pair.waits().startswith("BufferPin"))
        note = told(pair)
        assert f"candidates, for pins are not shown: session {pinning.info.backend_pid} of" in note.summary
        assert note.advice.startswith("end the transaction that holds it up, or wait: the server cancels it in 9 min")
        with observer(pair.dsn) as seen:
            assert "buffer_pin" not in kinds(seen.look())


@pytest.mark.since(15)
def test_transactions_hold_up_the_drop_of_a_tablespace(pair):
    # In place, for primary and standby are on one machine.
    pair.primary.execute("set allow_in_place_tablespaces = on")
    pair.primary.execute("create tablespace scratch location ''")
    wait_until(pair.has_replayed)
    sort = "declare sorting cursor for select n from generate_series(1, 100000) n order by n desc"
    with session(
        pair, "set temp_tablespaces = scratch", "set work_mem = '64kB'", sort, "fetch 1 from sorting"
    ) as sorting:
        pair.primary.execute("drop tablespace scratch")
        wait_until(lambda: pair.waits() == "IPC:RecoveryConflictTablespace")
        note = told(pair)
        assert "for transactions that may use a dropped tablespace" in note.summary
        assert note.advice.startswith(f"end the transaction of {sorting.info.backend_pid}, or wait")


def read_replay(dsn, *, looks_into_databases):
    async def read():
        async with await Connection.open(dsn, 20.0) as connection:
            connection.looks_into_databases = looks_into_databases
            return (await Collector(connection).fetch_gate(0.0)).replay

    return asyncio.run(read())


def test_relation_of_another_database_has_its_own_name_or_none(pair):
    pair.primary.execute("create database other")
    dsn = make_conninfo(pair.primary.info.dsn, password=pair.primary.info.password, dbname="other")
    with psycopg.connect(dsn, autocommit=True) as writing:
        writing.execute("create table elsewhere (id int)")
        [oid] = writing.execute("select 'elsewhere'::regclass::oid").fetchone()
        wait_until(pair.has_replayed)
        with psycopg.connect(make_conninfo(pair.dsn, dbname="other")) as reader:
            reader.execute("select from elsewhere")
            writing.execute("alter table elsewhere add column v int")
            wait_until(lambda: pair.waits() == "Lock:relation")
            with observer(pair.dsn) as seen:
                assert "on public.elsewhere of database other: " in seen.wait_for("replay_held_back").summary
            unnamed = read_replay(pair.dsn, looks_into_databases=False)
            assert (unnamed.relation, unnamed.relation_name) == (oid, None)
    wait_until(pair.has_replayed)
    pair.primary.execute("drop database other")


def test_paused_replay_is_said(pair):
    pair.ask.execute("select pg_wal_replay_pause()")
    try:
        pair.primary.execute("insert into orders values (0, 0)")
        wait_until(lambda: pair.waits() == "IPC:RecoveryPause")
        note = told(pair)
        assert (note.severity, "is paused" in note.summary) == ("info", True)
        assert "pg_wal_replay_resume()" in note.advice
    finally:
        pair.ask.execute("select pg_wal_replay_resume()")


def test_agent_counts_it_and_shows_it_on_its_page(pair, tmp_path):
    series = 'pgdoctor_findings{kind="replay_held_back"}'
    with RunningAgent(pair.dsn, tmp_path / "pgdoctor.toml") as watching:
        watching.wait_for("up", 1)
        with session(pair, "set transaction isolation level repeatable read", "select from orders") as old:
            pair.primary.execute("delete from orders where id <= 2500")
            pair.primary.execute("vacuum (truncate false) orders")
            wait_until(lambda: watching.metrics()[series] == 1, 20)
            assert str(old.info.backend_pid) in watching.get("/").text
            assert (watching.metric("up"), watching.metric("blocked_sessions")) == (1, 0)
        wait_until(lambda: watching.metrics()[series] == 0, 20)
