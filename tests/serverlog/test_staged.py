"""Incidents that are staged on a real server: what its log shows, beside what the agent says while they last.

`python -m tests.serverlog.precision 14 18` prints how often the class from the log is the agent's.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import psycopg
import pytest

from pgdoctor.cli._options import fetch_diagnosis, run_coroutine
from pgdoctor.demo.throwaway_server import ThrowawayServer
from pgdoctor.model.diagnosis import Blocker, Diagnosis
from pgdoctor.serverlog.judgement import JudgedIncident
from tests.diagnosis.causes.conftest import TABLES
from tests.scenes import Client, Scene
from tests.serverlog.logged import SETTINGS, TALKATIVE, read_incidents, tail_of

_SLEEPS = "select pg_sleep(2)"


class Staged(NamedTuple):
    """An incident: its root, and what ends it; None: it ends by itself."""

    root: Client | None
    waiters: int
    release: Callable[[], object] | None = None


class Kind(NamedTuple):
    """A kind of incident. `known`: the class that a log of all statements gives, `terse`: one without any."""

    stage: Callable[[Scene], Staged]
    known: str
    terse: str

    @property
    def name(self) -> str:
        return self.stage.__name__


def idle_row(shop: Scene) -> Staged:
    holder = shop.client("update orders set v = 1 where id = 7", application_name="checkout")
    for _ in range(3):
        shop.client().start("update orders set v = 2 where id = 7")
    return Staged(holder, 3, lambda: holder.run("commit"))


def queue_behind_alter(shop: Scene) -> Staged:
    reader = shop.client("select count(*) from orders", application_name="reporting")
    shop.client(application_name="deploy").block("alter table orders add column c int")
    for _ in range(4):
        shop.client(autocommit=True).block("select from orders where id = 1")
    return Staged(reader, 5, lambda: reader.run("commit"))


def row_in_a_function(shop: Scene) -> Staged:
    shop.admin.execute(
        "create function pay(i int) returns int language plpgsql as "
        "'begin update orders set v = v + 1 where id = i; return 1; end'"
    )
    holder = shop.client("update orders set v = 1 where id = 7")
    shop.client().block("select pay(7)")
    return Staged(holder, 1, lambda: holder.run("rollback"))


def deadlock(shop: Scene) -> Staged:
    one, two = (shop.client(f"update orders set v = 1 where id = {row}") for row in (1, 2))
    one.block("update orders set v = 1 where id = 2")
    two.start("update orders set v = 2 where id = 1")
    return Staged(None, 1)


def advisory(shop: Scene) -> Staged:
    holder = shop.client("select pg_advisory_lock(42)", autocommit=True)
    shop.client(autocommit=True).block("select pg_advisory_lock(42)")
    return Staged(holder, 1, lambda: holder.run("select pg_advisory_unlock(42)"))


def idle_advisory(shop: Scene) -> Staged:
    holder = shop.client("select pg_advisory_xact_lock(43)")
    shop.client(autocommit=True).block("select pg_advisory_xact_lock(43)")
    return Staged(holder, 1, lambda: holder.run("commit"))


def prepared(shop: Scene) -> Staged:
    shop.client("update orders set v = 1 where id = 7", "prepare transaction 'left'")
    shop.client().block("update orders set v = 2 where id = 7")
    return Staged(None, 1, lambda: shop.admin.execute("rollback prepared 'left'"))


def idle_lock_table(shop: Scene) -> Staged:
    holder = shop.client("lock table orders")
    shop.client(autocommit=True).block("select from orders")
    return Staged(holder, 1, lambda: holder.run("commit"))


def queued_lock_table(shop: Scene) -> Staged:
    writer = shop.client("insert into orders values (99999, 1)")
    shop.client().block("lock table orders in share mode")
    shop.client(autocommit=True).block("insert into orders values (99998, 1)")
    return Staged(writer, 2, lambda: writer.run("commit"))


def long_update(shop: Scene) -> Staged:
    worker = shop.client().start("update orders set v = slow(id) where id between 7 and 10")
    shop.wait_until(lambda: "PgSleep" in worker.shown())
    shop.client().block("alter table orders add column c int")
    return Staged(worker, 1, lambda: (worker.finish(20), worker.run("commit")))


def working_migration(shop: Scene) -> Staged:
    worker = shop.client("alter table orders add column c int").start(_SLEEPS)
    shop.client(autocommit=True).block("select from orders")
    return Staged(worker, 1, lambda: (worker.finish(20), worker.run("commit")))


def truncate_in_a_function(shop: Scene) -> Staged:
    shop.admin.execute(
        "create function history() returns int language plpgsql as 'begin truncate other; return 1; end'"
    )
    reader = shop.client("select from other")
    shop.client().block("select history()")
    shop.client(autocommit=True).block("insert into other values (77, 1)")
    return Staged(reader, 2, lambda: reader.run("commit"))


def concurrent_index(shop: Scene) -> Staged:
    writer = shop.client("update orders set v = 1 where id = 7")
    shop.client(autocommit=True).block("create index concurrently on orders (v)")
    return Staged(writer, 1, lambda: writer.run("commit"))


def vacuum_full(shop: Scene) -> Staged:
    reader = shop.client("select from orders")
    shop.client(autocommit=True).block("vacuum full orders")
    shop.client(autocommit=True).block("select from orders")
    return Staged(reader, 2, lambda: reader.run("commit"))


def backup(shop: Scene) -> Staged:
    dump = shop.client("select from orders", application_name="pg_dump").start("select pg_sleep(2) from orders limit 1")
    shop.client().block("alter table orders add column c int")
    return Staged(dump, 1, lambda: (dump.finish(20), dump.run("commit")))


KINDS = (
    Kind(idle_row, "idle_in_transaction", "unknown"),
    Kind(queue_behind_alter, "idle_in_transaction", "unknown"),
    Kind(row_in_a_function, "idle_in_transaction", "unknown"),
    Kind(deadlock, "unknown", "unknown"),
    Kind(advisory, "advisory_lock", "advisory_lock"),
    Kind(idle_advisory, "idle_in_transaction", "advisory_lock"),
    Kind(prepared, "prepared_transaction", "prepared_transaction"),
    Kind(idle_lock_table, "idle_in_transaction", "unknown"),
    Kind(queued_lock_table, "idle_in_transaction", "unknown"),
    Kind(long_update, "long_query", "unknown"),
    Kind(working_migration, "migration", "unknown"),
    Kind(truncate_in_a_function, "idle_in_transaction", "unknown"),
    Kind(concurrent_index, "idle_in_transaction", "unknown"),
    Kind(vacuum_full, "idle_in_transaction", "unknown"),
    Kind(backup, "backup", "unknown"),
)


class Seen(NamedTuple):
    """An incident as the agent saw it, and as the log has it; the root's PID."""

    live: Diagnosis
    logged: JudgedIncident
    root: int | None
    waiters: int


def stage(kind: Kind, server: ThrowawayServer) -> Seen:
    """Stage it, ask the agent while it lasts, end it, and read the log."""
    tail = tail_of(server)
    with Scene(server.dsn) as shop:
        shop.admin.execute(TABLES)
        staged = kind.stage(shop)
        live = run_coroutine(fetch_diagnosis(shop.dsn))
        word = " still waiting for " if staged.release is not None else "ERROR:  deadlock detected"
        tail.wait_for(shop, word, times=staged.waiters)
        if staged.release is not None:
            staged.release()
        _end(shop)
        data = tail.wait_for(shop, *([" acquired "] if staged.release is not None else []), times=staged.waiters)
        incidents = [each for each in read_incidents(data) if each.diagnosis is not None]
        root = staged.root.pid if staged.root else None
        # An index that is built concurrently waits for other transactions, too, one after the other.
        widest = max(incidents, key=lambda each: (root in classes(each.diagnosis), each.incident.peak))
        return Seen(live, widest, root, staged.waiters)


def _end(shop: Scene) -> None:
    """Let all that waited come to its end, one after the other."""
    todo = [client for client in shop._clients if client._outcome is not None]

    def is_done() -> bool:
        for client in [each for each in todo if not each.busy]:
            todo.remove(client)
            with suppress(psycopg.Error):
                client.finish()
            client.run("rollback")
        return not todo

    shop.wait_until(is_done, timeout=20)


def classes(diagnosis: Diagnosis) -> Mapping[int, Blocker]:
    return {each.node: each for each in diagnosis.blockers}


def right(seen: Seen) -> Iterator[tuple[str, bool]]:
    """Each class that the log gives, and whether the agent gave it, too."""
    live = classes(seen.live)
    for node, said in classes(seen.logged.diagnosis).items():
        if said.classification == "unknown":
            continue
        agent = live.get(node)
        yield said.classification, agent is not None and said.classification in (agent.classification, *agent.also)


@pytest.fixture(scope="module")
def talkative(bindir: Path) -> Iterator[ThrowawayServer]:
    with ThrowawayServer(bindir=bindir, settings=TALKATIVE) as server:
        yield server


@pytest.fixture(scope="module")
def terse(bindir: Path) -> Iterator[ThrowawayServer]:
    with ThrowawayServer(bindir=bindir, settings=SETTINGS) as server:
        yield server


@pytest.mark.long
@pytest.mark.deadline(120)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@pytest.mark.parametrize("log", ["talkative", "terse"])
def test_log_shows_the_incident_that_the_agent_saw(kind: Kind, log: str, request: pytest.FixtureRequest) -> None:
    seen = stage(kind, request.getfixturevalue(log))
    logged = seen.logged
    assert logged.classification == (kind.known if log == "talkative" else kind.terse)
    assert logged.incident.waits == seen.waiters
    assert all(is_right for _, is_right in right(seen))
    if seen.root is not None:
        assert {each.node for each in logged.diagnosis.blockers if each.root} == {seen.root}
        assert (
            logged.diagnosis.graph.count_blocked(seen.root) == seen.live.graph.count_blocked(seen.root) == seen.waiters
        )
        assert logged.incident.outcomes == {"acquired": seen.waiters}
