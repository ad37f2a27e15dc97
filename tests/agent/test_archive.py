"""The archive: what agents copy into one database is whole, once, and read again as from a journal."""

import asyncio
import io
import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, redirect_stderr, redirect_stdout
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest
from msgspec.structs import replace

from pgdoctor.agent.archiver import Archiver
from pgdoctor.cli import main
from pgdoctor.config.config import ArchiveSettings
from pgdoctor.demo.throwaway_server import ThrowawayServer
from pgdoctor.diagnosis.diagnose import diagnose
from pgdoctor.errors import StatementFailed
from pgdoctor.incidents.incident import Incident
from pgdoctor.incidents.incident_log import KIND, encode_observation
from pgdoctor.incidents.snapshot_archive import pack_diagnosis
from pgdoctor.journal.keeper import Keeper
from pgdoctor.journal.store import Journal
from pgdoctor.postgres.archive import prepare_archive, write_archive
from pgdoctor.postgres.connection import Connection
from tests.cli.test_bad_input import complains
from tests.cli.test_incidents import BEGAN, ID, SERVER, act, at, blocked, course
from tests.scenes import Scene
from tests.scenes.client import wait_until

OTHER = "7444444444444444444"


@pytest.fixture
def archive(scene: Scene) -> str:
    """The DSN of an empty database whose owner is an ordinary role."""
    dsn = scene.role("archivist")
    scene.admin.execute(f'alter database "{scene.admin.info.dbname}" owner to archivist')
    return dsn


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


@pytest.fixture
def journal(path: Path) -> Iterator[Journal]:
    with closing(Journal.open(path)) as opened:
        yield opened


def record(journal: Journal, identifier: str = SERVER, **facts: Any) -> None:
    """An incident with two snapshots and an action."""
    for each in course(**facts):
        journal.append(identifier, KIND, each.id, msgspec.json.encode(replace(each, blocked_seconds=120.0)), each.at)
    for seconds in (1, 61):
        journal.keep(identifier, ID, pack_diagnosis(diagnose(blocked(seconds))), at(seconds))


def copy(path: Path, dsn: str, times: int = 1, **settings: Any) -> Archiver:
    """Let an agent's archiver copy until nothing waits; it fails as the archive does."""
    keeper = Keeper(path)
    archiver = Archiver(ArchiveSettings(dsn=dsn, on_watched_server=True, **settings), keeper)

    async def work() -> None:
        for _ in range(times):
            async with await Connection.open(dsn) as connection:
                while await archiver._copy_batch(connection):
                    pass

    try:
        asyncio.run(work())
    finally:
        archiver.close()
        keeper.close().result(5)
    return archiver


def rows(dsn: str, statement: str) -> list[Any]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        return connection.execute(statement).fetchall()  # type: ignore[call-overload, no-any-return]


def incidents(dsn: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command in this process."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
        main(["incidents", "--archive", dsn, *arguments])
    return subprocess.CompletedProcess(arguments, ended.value.code, out.getvalue(), err.getvalue())


def from_journal(path: Path, *arguments: str) -> str:
    out = io.StringIO()
    with redirect_stdout(out), pytest.raises(SystemExit):
        main(["incidents", *arguments, "--journal", str(path)])
    return out.getvalue()


def test_archive_says_the_same_as_the_journal(archive: str, journal: Journal, path: Path) -> None:
    record(journal)
    act(journal, "enforce")
    copied = copy(path, archive)
    assert (copied.waiting, copied.error) == (0, None)
    for arguments in (["list"], ["list", "--format", "json"], ["show", ID], ["show"], ["report"], ["replay"]):
        assert incidents(archive, *arguments).stdout == from_journal(path, *arguments), arguments
    assert "released 1 session" in incidents(archive, "report").stdout
    pattern = json.loads(incidents(archive, "patterns", "--format", "json").stdout)["patterns"][0]
    known = json.loads(from_journal(path, "patterns", "--format", "json"))["patterns"][0]
    assert pattern == known
    assert pattern["blocked_seconds"] == 120.0


def test_repeated_copies_change_nothing(archive: str, journal: Journal, path: Path) -> None:
    record(journal)
    act(journal, "dry_run")
    copy(path, archive)
    counts = "select (select count(*) from pgdoctor_archive.{}), (select count(*) from pgdoctor_archive.{})"
    before = rows(archive, counts.format("records", "snapshots")), rows(archive, counts.format("incidents", "blockers"))
    assert before[0] == [(9, 2)] or before[0][0][1] == 2
    # The cursor is lost: the archiver begins again.
    with psycopg.connect(archive) as connection:
        name = f"archive {_identifier(archive)} {connection.info.dbname}"
    journal.remember("", name, b"{}")
    copy(path, archive)
    after = rows(archive, counts.format("records", "snapshots")), rows(archive, counts.format("incidents", "blockers"))
    assert after == before


def test_row_that_is_always_refused_holds_up_no_other(
    archive: str, journal: Journal, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    record(journal)
    copy(path, archive)
    with psycopg.connect(archive) as owner:
        owner.execute("alter table pgdoctor_archive.records add check (subject <> 'refused')")
    journal.append(SERVER, KIND, "refused", b"{}", at(70))
    journal.append(SERVER, KIND, "taken", b"{}", at(71))
    keeper = Keeper(path)
    archiver = Archiver(ArchiveSettings(dsn=archive, on_watched_server=True), keeper)

    async def work() -> None:
        for _ in range(3):
            await archiver._copy_or_wait(archiver._reconnector)
            assert archiver.error is not None
        await archiver._copy_or_wait(archiver._reconnector)

    try:
        asyncio.run(work())
    finally:
        archiver.close()
        keeper.close().result(5)
    assert (archiver.error, archiver.waiting) == (None, 0)
    assert archiver.counts == {"written": 1, "failed": 3, "set_aside": 1}
    found = rows(archive, "select subject from pgdoctor_archive.records where subject in ('refused', 'taken')")
    assert found == [("taken",)]
    [warning] = [each for each in caplog.records if "refuses a row permanently" in each.message]
    assert (warning.subject, warning.sqlstate) == ("refused", "23514")


def _identifier(dsn: str) -> str:
    async def work() -> str:
        async with await Connection.open(dsn) as connection:
            return await connection.system_identifier() or connection.host

    return asyncio.run(work())


def test_latest_observation_replaces_the_one_before(archive: str, journal: Journal, path: Path) -> None:
    incident = Incident(ID, BEGAN, ("idle_in_transaction",), 2, 1.0)
    last = 0
    for seconds in (1, 2, 3):
        seen = encode_observation(replace(incident, peak_blocked=seconds), at(seconds), seconds, server="shop")
        last = journal.append(SERVER, KIND, ID, msgspec.json.encode(seen), at(seconds), replacing=last)
        copy(path, archive)
    assert rows(archive, "select count(*) from pgdoctor_archive.records") == [(1,)]
    assert rows(archive, "select peak_blocked, is_over from pgdoctor_archive.incidents") == [(3, False)]


def test_two_agents_share_one_archive(archive: str, tmp_path: Path) -> None:
    for name, server in (("shop", SERVER), ("billing", OTHER)):
        path = tmp_path / name
        with closing(Journal.open(path)) as journal:
            record(journal, server, server=name)
        copy(path, archive)
    assert [each["server"] for each in json.loads(incidents(archive, "list", "--format", "json").stdout)] == [
        "shop",
        "billing",
    ]
    found = json.loads(incidents(archive, "patterns", "--format", "json").stdout)
    assert sorted(each["server"] for each in found["patterns"]) == ["billing", "shop"]
    assert incidents(archive, "show", ID).stdout.count(f"Incident {ID}") == 2


def test_hostile_texts_are_stored_as_they_are(archive: str, journal: Journal, path: Path) -> None:
    hostile = "a|b\x1b[31m\n# x\u202e`c` '; drop schema pgdoctor_archive; --\x00\\"
    record(journal, server=hostile, relation=f"public.{hostile}")
    copy(path, archive)
    [(name, relation)] = rows(archive, "select name, relation from pgdoctor_archive.incidents")
    assert name == hostile.replace("\x00", "\ufffd")
    assert relation.startswith("public.a|b")
    assert "\x1b" not in incidents(archive, "list").stdout


def test_old_months_are_dropped(archive: str, journal: Journal, path: Path) -> None:
    old = [replace(each, id="old", started=each.started - timedelta(days=800), at=each.at - timedelta(days=800))
           for each in course()]  # fmt: skip
    for each in old:
        journal.append(SERVER, KIND, each.id, msgspec.json.encode(each), each.at)
    record(journal)
    copy(path, archive)
    assert rows(archive, "select incident from pgdoctor_archive.incidents") == [(ID,)]
    tables = rows(archive, "select count(*) from pg_inherits where inhparent = 'pgdoctor_archive.records'::regclass")
    assert tables[0][0] in (1, 2)


def test_archive_that_is_watched_is_refused(archive: str, path: Path) -> None:
    """By the system identifier, which says what server this is."""
    with psycopg.connect(archive) as connection:
        known = connection.execute("select has_function_privilege('pg_control_system()', 'execute')").fetchone()
    if known != (True,):
        pytest.skip("the role cannot know which server this is")
    with closing(Journal.open(path)) as journal:
        record(journal, _identifier(archive))
    keeper = Keeper(path)
    archiver = Archiver(ArchiveSettings(dsn=archive), keeper)

    async def work() -> None:
        async with await Connection.open(archive) as connection:
            await archiver._copy_batch(connection)

    with pytest.raises(StatementFailed, match="on_watched_server"):
        asyncio.run(work())
    keeper.close().result(5)
    assert rows(archive, "select count(*) from pgdoctor_archive.records") == [(0,)]


def test_role_without_create_is_one_line(scene: Scene) -> None:
    dsn = scene.role("nobody_special")

    async def work() -> None:
        async with await Connection.open(dsn) as connection:
            await prepare_archive(connection)

    with pytest.raises(StatementFailed, match="needs CREATE on the database"):
        asyncio.run(work())


def test_archive_of_a_later_version_is_left_alone(archive: str) -> None:
    rows_before = "create schema pgdoctor_archive; comment on schema pgdoctor_archive is 'pgdoctor archive, version 9'"
    with psycopg.connect(archive, autocommit=True) as connection:
        connection.execute(rows_before)
    complains(incidents(archive, "list"), 3, "the archive has version 9; this pgdoctor knows version 1")


def test_archive_of_another_role_is_neither_written_nor_trusted(scene: Scene, archive: str) -> None:
    """Its triggers would run as the role that writes, and its views as the role that reads."""

    async def prepare(dsn: str) -> None:
        async with await Connection.open(dsn) as connection:
            await prepare_archive(connection)

    asyncio.run(prepare(archive))
    other = scene.role("other")
    with psycopg.connect(archive, autocommit=True) as connection:
        connection.execute("grant usage on schema pgdoctor_archive to other")
    with pytest.raises(StatementFailed, match="belongs to another role"):
        asyncio.run(prepare(other))
    with psycopg.connect(archive, autocommit=True) as connection:
        connection.execute("create view pgdoctor_archive.trap as select 1")
    complains(incidents(archive, "list"), 3, "the schema pgdoctor_archive has a view")


#: What runs code of the archive's owner as the role that reads: while a statement is planned, or executed.
_TRAPS = {
    "predicate of an index": "create index trap on pgdoctor_archive.records (kind) where note('x') = 'x'",
    "expression of an index": "create index trap on pgdoctor_archive.records ((note('x')))",
    "constraint": "alter table pgdoctor_archive.records add constraint trap check (note('x') = 'x')",
    "statistics": "create statistics pgdoctor_archive.trap on (note('x')), kind from pgdoctor_archive.records",
    "key of a partition elsewhere": "create table trap partition of pgdoctor_archive.records"
    " for values from ('2001-01-01') to ('2001-02-01') partition by list ((note('x') || kind))",
    "cast of a type": "alter table pgdoctor_archive.snapshots alter incident type kind using row (incident)::kind",
}


@pytest.mark.parametrize("trap", _TRAPS)
def test_no_code_of_the_archive_runs_as_its_reader(scene: Scene, archive: str, trap: str) -> None:
    reader = scene.role("reader")

    async def prepare(dsn: str) -> None:
        async with await Connection.open(dsn) as connection:
            await prepare_archive(connection)

    asyncio.run(prepare(archive))
    with psycopg.connect(archive, autocommit=True) as owner:
        owner.execute("""
            create schema traps; grant usage on schema traps, pgdoctor_archive to reader; set search_path = traps;
            grant select on all tables in schema pgdoctor_archive to reader;
            create function note(what text) returns text language plpgsql immutable as
                $$ begin raise log 'TRAP'; return what; end $$;
            create type kind as (x text);
            create function name_kind(kind) returns text language sql as 'select ($1).x';
            create cast (kind as text) with function name_kind(kind) as implicit;
        """)
        assert incidents(reader, "list").returncode == 0
        # A key permits neither a change of type nor an expression as the key of partitions.
        owner.execute("alter table pgdoctor_archive.records drop constraint records_pkey")
        owner.execute("alter table pgdoctor_archive.snapshots drop constraint snapshots_pkey")
        owner.execute("drop index pgdoctor_archive.snapshots_by_incident")
        owner.execute(_TRAPS[trap])
    complains(incidents(reader, "list"), 3, "uses a function, an operator or a type of a user")
    complains(incidents(reader, "patterns"), 3, "uses a function, an operator or a type of a user")


def test_no_trigger_of_another_role_runs_as_the_writer(
    scene: Scene, archive: str, journal: Journal, path: Path
) -> None:
    """GRANT ALL ON TABLES lets another role make triggers and foreign keys, at any time."""
    other = scene.role("other", f"create on database {scene.admin.info.dbname}")
    with psycopg.connect(archive, autocommit=True) as owner:
        owner.execute("alter default privileges grant all on tables to other")
        record(journal)
        copy(path, archive)
        owner.execute("grant usage on schema pgdoctor_archive to other")
    with psycopg.connect(other, autocommit=True) as mallory:
        mallory.execute("""
            create schema traps; set search_path = traps;
            create function note() returns trigger language plpgsql as $$ begin raise 'trap'; end $$;
            create trigger trap before insert on pgdoctor_archive.records for each row execute function note();
        """)
        with pytest.raises(StatementFailed, match="a trigger or a foreign key belongs to another role"):
            _write_nothing(archive)
        with psycopg.connect(archive, autocommit=True) as owner:
            owner.execute("drop trigger trap on pgdoctor_archive.records")
        _write_nothing(archive)
        mallory.execute("""
            create table followers (like pgdoctor_archive.blockers,
                foreign key (server, incident, started, place) references pgdoctor_archive.blockers on delete cascade)
        """)
    with pytest.raises(StatementFailed, match="a trigger or a foreign key belongs to another role"):
        _write_nothing(archive)


def _write_nothing(dsn: str) -> None:
    async def write() -> None:
        async with await Connection.open(dsn) as connection:
            await write_archive(connection, [])

    asyncio.run(write())


def test_database_without_an_archive_is_one_line(archive: str) -> None:
    complains(incidents(archive, "list"), 3, "the database has no archive")
    complains(incidents("host=127.0.0.1 port=1 connect_timeout=2", "list"), 3, "refused")


@pytest.mark.deadline(240)
def test_agent_copies_what_it_records_and_catches_up_after_an_outage(
    scene: Scene, agent: Callable[..., Any], own_server: Callable[..., ThrowawayServer], tmp_path: Path
) -> None:
    away = own_server()
    secret = tmp_path / "archive-dsn"
    secret.write_text(away.dsn)
    secret.chmod(0o600)
    watching = agent(scene.dsn, more=f'[archive]\ndsn_file = "{secret}"\n')
    watching.wait_for("archive_up", 1)
    scene.admin.execute("create table orders (id int primary key, v int); insert into orders values (1, 0)")

    def happen() -> None:
        before = watching.metric("incident_duration_seconds_count")
        holder = scene.client("update orders set v = 1 where id = 1")
        waiter = scene.client().block("update orders set v = 2 where id = 1")
        watching.wait_for("blocked_sessions", 1)
        holder.run("rollback")
        waiter.finish()
        waiter.run("rollback")
        wait_until(lambda: watching.metric("incident_duration_seconds_count") > before, 60)

    ended = "select count(*) from pgdoctor_archive.incidents where is_over"
    happen()
    wait_until(lambda: rows(away.dsn, ended)[0][0] >= 1, 60)
    away.halt("immediate")
    happen()
    wait_until(lambda: watching.metric("archive_up") == 0, 60)
    assert watching.metric("up") == 1
    away.start()
    watching.wait_for("archive_up", 1)
    wait_until(lambda: watching.metric("archive_waiting") == 0, 120)
    told = json.loads(incidents(away.dsn, "list", "--format", "json").stdout)
    assert told
    assert all(each["event"] == "ended" for each in told)


@pytest.mark.long
@pytest.mark.deadline(600)
def test_200_agents_write_at_the_same_time(own_server: Callable[..., ThrowawayServer], tmp_path: Path) -> None:
    """Each begins with an empty archive, which one of them creates; nothing is lost, and nothing is there twice."""
    away = own_server(max_connections=250)
    keepers, archivers = [], []
    for number in range(200):
        path = tmp_path / f"{number}.db"
        with closing(Journal.open(path)) as journal:
            record(journal, str(7_000_000_000_000_000_000 + number), server=f"db{number}")
        keepers.append(Keeper(path))
        archivers.append(Archiver(ArchiveSettings(dsn=away.dsn), keepers[-1]))

    async def work() -> None:
        running = [asyncio.create_task(each.run()) for each in archivers]
        try:
            await asyncio.to_thread(wait_until, lambda: _count_written(archivers) >= 200 * 5, 540)
        finally:
            for each in running:
                each.cancel()

    try:
        asyncio.run(work())
    finally:
        for archiver, keeper in zip(archivers, keepers, strict=True):
            archiver.close()
            keeper.close()
    counts = "select count(*), count(distinct server) from pgdoctor_archive."
    assert rows(away.dsn, f"{counts}records") == [(600, 200)]
    assert rows(away.dsn, f"{counts}snapshots") == [(400, 200)]
    assert rows(away.dsn, f"{counts}incidents") == [(200, 200)]
    assert rows(away.dsn, f"{counts}blockers") == [(200, 200)]


def _count_written(archivers: list[Archiver]) -> int:
    return sum(each.counts["written"] for each in archivers)
