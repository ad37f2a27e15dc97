"""An old transaction, a prepared one, and stalled replication slots: what they keep from vacuum, and of the WAL."""

import json
import os

import psycopg
import pytest

from tests.diagnosis.findings.observing import kinds, observer
from tests.forked import pgdoctor
from tests.scenes import Scene

#: Gives out a hundred thousand transaction ids in a second.
_BURN = """
    do $$ begin
        for i in 1 .. 100000 loop
            begin insert into burnt values (1); exception when others then null; end;
        end loop;
    end $$
"""


def burn(scene, times):
    scene.admin.execute("set statement_timeout = 0; create unlogged table if not exists burnt (i int)")
    for _ in range(times):
        scene.admin.execute(_BURN)


@pytest.mark.long
@pytest.mark.deadline(180)
def test_holders_of_the_xmin_horizon_are_named_in_turn(own_server):
    server = own_server(settings={"wal_level": "logical", "max_wal_size": "10GB"})
    with Scene(server.dsn) as scene, observer(scene.dsn) as seen:
        scene.admin.execute("create table orders (id int)")
        reader = scene.client(application_name="nightly report")
        reader.run("set transaction isolation level repeatable read")
        reader.run("select count(*) from orders")
        # Behind a prepared transaction it would wait to be made.
        scene.admin.execute("select pg_create_logical_replication_slot('warehouse', 'pgoutput')")
        scene.admin.execute("select pg_current_xact_id()")
        scene.client("insert into orders values (1)", "prepare transaction 'transfer 7'")
        assert kinds(seen.look()) == []
        burn(scene, 10)
        note = seen.note("vacuum_held_back")
        assert note.severity == "warning"
        assert f"session {reader.pid} in {scene.admin.info.dbname}" in note.summary
        assert '"nightly report" (postgres), idle in transaction, open for' in note.summary
        assert f"terminate {reader.pid}" in note.advice
        assert note.numbers["transactions"] >= 1_000_000
        reader.run("commit")
        note = seen.note("vacuum_held_back")
        assert note.summary.startswith("inactive replication slot warehouse")
        scene.admin.execute("select pg_drop_replication_slot('warehouse')")
        note = seen.note("vacuum_held_back")
        assert note.summary.startswith(f"prepared transaction transfer 7 in {scene.admin.info.dbname}, open for")
        assert "ROLLBACK PREPARED transfer 7" in note.advice
        scene.admin.execute("rollback prepared 'transfer 7'")
        assert "vacuum_held_back" not in kinds(seen.look())


@pytest.mark.long
def test_ids_that_run_out_are_said_by_how_far_freezing_is_behind(own_server):
    """With the smallest limit there is."""
    server = own_server(settings={"autovacuum_freeze_max_age": 100_000})
    with Scene(server.dsn) as scene, observer(scene.dsn) as seen:
        reader = scene.client("set transaction isolation level repeatable read", "select 1")
        assert kinds(seen.look()) == []
        burn(scene, 3)
        note = seen.note("wraparound")
        assert note.severity == "warning"
        assert note.numbers["oldest_transaction_age"] >= 200_000
        assert note.numbers["forced_at"] == 100_000
        reader.run("commit")


def age(server, option, segment, size):
    """As if nearly all ids had been used; and a table cannot be frozen, for its file is lost."""
    with psycopg.connect(server.dsn, autocommit=True) as admin:
        admin.execute("create table lost (i int); checkpoint")
        [path] = admin.execute("select pg_relation_filepath('lost')").fetchone()
    server.halt()
    (server.data / path).unlink()
    server.run(server.bindir / "pg_resetwal", "-D", server.data, *option, seconds=60)
    (server.data / segment).write_bytes(bytes(size))
    owner = server.data.stat()
    os.chown(server.data / segment, owner.st_uid, owner.st_gid)
    server.start()


#: A file of pg_xact holds 2^20 transactions, one of pg_multixact/offsets 2^16 multixacts.
AGES = {
    "transaction": (("-x", str(2047 << 20)), "pg_xact/07FF"),
    "multixact": (("-m", f"{25600 << 16},1"), "pg_multixact/offsets/6400"),
}


@pytest.mark.long
@pytest.mark.parametrize("what", AGES)
def test_a_server_that_has_nearly_used_up_its_ids_is_in_danger(own_server, what):
    server = own_server()
    option, segment = AGES[what]
    age(server, option, segment, 32 * 8192)
    with observer(server.dsn) as seen:
        note = seen.note("wraparound")
    assert note.severity == "critical"
    assert f"{what} ids behind" in note.summary
    assert note.numbers[f"oldest_{what}_age"] > 0.75 * 2**31
    if what == "transaction":
        with psycopg.connect(server.dsn) as client, pytest.raises(psycopg.Error, match="not accepting commands"):
            client.execute("select pg_current_xact_id()")
        assert "the server refuses writes" in note.summary
        told = json.loads(pgdoctor("triage", "--format", "json", "--dsn", server.dsn).stdout)
        assert (told["hurt"], told["layer"]) == (True, "elsewhere")
        assert "it is out of ids" in told["because"]


def write_wal(connection, megabytes):
    connection.execute(
        "select pg_logical_emit_message(false, 'test', repeat('x', 1048576)) from generate_series(1, %s)", [megabytes]
    )


@pytest.mark.long
@pytest.mark.parametrize("kind", ["physical", "logical"])
def test_a_stalled_slot_is_found_when_it_keeps_more_wal_than_there_should_be(own_server, kind):
    server = own_server(settings={"wal_level": "logical", "max_wal_size": "32MB", "min_wal_size": "32MB"})
    with Scene(server.dsn) as scene, observer(scene.dsn) as seen:
        make = {
            "physical": "select pg_create_physical_replication_slot('stalled', true)",
            "logical": "select pg_create_logical_replication_slot('stalled', 'pgoutput')",
        }
        scene.admin.execute(make[kind])
        assert kinds(seen.look()) == []
        write_wal(scene.admin, 44)
        note = seen.note("replication_slot")
        assert note.severity == "warning"
        assert f"inactive {kind} replication slot stalled" in note.summary
        assert ("(inactive for" in note.summary) == (scene.admin.info.server_version >= 170_000)
        assert note.numbers["retained_bytes"] >= 40 << 20
        assert "the slot has no limit" in note.advice
        write_wal(scene.admin, 300)
        assert seen.note("replication_slot").severity == "critical"


@pytest.mark.long
def test_a_slot_is_said_to_be_about_to_be_lost_and_then_to_be_lost(own_server):
    server = own_server(
        settings={
            "wal_level": "replica",
            "max_wal_size": "32MB",
            "min_wal_size": "32MB",
            "max_slot_wal_keep_size": "64MB",
        }
    )
    with Scene(server.dsn) as scene, observer(scene.dsn) as seen:
        scene.admin.execute("select pg_create_physical_replication_slot('stalled', true)")
        write_wal(scene.admin, 40)
        note = seen.note("replication_slot")
        assert (note.severity, note.advice.count("limits")) == ("warning", 0)
        assert note.numbers["bytes_left"] > 0
        while scene.admin.execute("select wal_status from pg_replication_slots").fetchone()[0] != "lost":
            write_wal(scene.admin, 20)
            scene.admin.execute("checkpoint")
        note = seen.note("replication_slot")
        assert "is lost" in note.summary
        assert "rebuild its consumer" in note.advice


@pytest.mark.long
def test_a_slot_that_keeps_up_is_none(own_server):
    server = own_server(settings={"wal_level": "logical", "max_wal_size": "32MB", "min_wal_size": "32MB"})
    with Scene(server.dsn) as scene, observer(scene.dsn) as seen:
        scene.admin.execute("select pg_create_logical_replication_slot('reading', 'pgoutput')")
        for _ in range(3):
            write_wal(scene.admin, 20)
            scene.admin.execute("select pg_replication_slot_advance('reading', pg_current_wal_lsn())")
            assert kinds(seen.look()) == []
