"""Migration tools staged as they are: by name, by lock, by table, by comment."""

import asyncio
import zlib

import pytest

from pgdoctor.diagnosis.diagnose import diagnose
from pgdoctor.model.snapshot import Snapshot
from pgdoctor.postgres.catalog import warm_up_catalog
from pgdoctor.postgres.collect import Collector
from pgdoctor.postgres.connection import Connection
from tests.looking import blocker, said
from tests.scenes import Scene

#: All of it together takes many seconds.
pytestmark = pytest.mark.long

_HISTORY = """
    create table alembic_version (version_num text); insert into alembic_version values ('1');
    create table schema_migrations (version text primary key);
    create table django_migrations (id int); create table databasechangeloglock (id int);
    create schema repack; create table repack.log_1 (id int)
"""

_DDL = "alter table orders add column c int"


def staged(shop: Scene, *before: str, ddl: str = _DDL, application_name: str | None = None) -> tuple[str | None, str]:
    """A migration that works and blocks: its maker and the evidence."""
    shop.admin.execute(_HISTORY)
    holder = shop.client(*before, application_name=application_name).start(f"{ddl}; select pg_sleep(9)")
    shop.wait_until(lambda: "PgSleep" in holder.shown())
    shop.client().block("select from orders")
    facts = blocker(shop.dsn, holder.pid)
    assert facts.classification == "migration"
    return facts.maker, said(facts)


@pytest.mark.parametrize(
    "before",
    [
        (),
        ("select pg_advisory_lock(4711)", "select pg_advisory_lock(1, 2)"),
        ("select pg_advisory_lock(72707369, 0)",),
        ("select pg_advisory_lock(72707369)", "select pg_advisory_unlock(72707369)"),
        ("select '-- AlterTable', 'alembic_version'",),
        ("select from other",),
    ],
)
def test_a_migration_by_hand_has_no_maker(shop: Scene, before: tuple[str, ...]) -> None:
    maker, evidence = staged(shop, *before)
    assert maker is None
    assert "run by" not in evidence


def test_a_reader_of_a_version_table_is_no_migration(shop: Scene) -> None:
    shop.admin.execute(_HISTORY)
    reader = shop.client("select from alembic_version", "update orders set v = 1 where id = 1")
    shop.client().block("update orders set v = 2 where id = 1")
    facts = blocker(shop.dsn, reader.pid)
    assert (facts.classification, facts.maker) == ("idle_in_transaction", None)


def test_a_table_of_another_session_tells_nothing(shop: Scene) -> None:
    shop.admin.execute(_HISTORY)
    shop.client("select from alembic_version")
    holder = shop.client().start(f"{_DDL}; select pg_sleep(9)")
    shop.client().block("select from orders")
    assert blocker(shop.dsn, holder.pid).maker is None


@pytest.mark.parametrize(
    ("before", "said_so"),
    [
        ("select from alembic_version", "run by Alembic (holds alembic_version)"),
        ("select from schema_migrations", "run by Rails, golang-migrate, dbmate or Ecto (holds schema_migrations)"),
        ("select from django_migrations", "run by Django (holds django_migrations)"),
        ("update databasechangeloglock set id = 1", "run by Liquibase (holds databasechangeloglock)"),
        ("select pg_advisory_lock(2686470616)", "run by Atlas (holds its advisory lock)"),
        ("insert into repack.log_1 values (1)", "run by pg_repack (holds repack.log_1)"),
        ("select pg_advisory_lock(72707369)", "run by Prisma Migrate (holds its advisory lock)"),
        ("select pg_advisory_lock(5887940537704921958)", "run by goose (holds its advisory lock)"),
        ("select pg_try_advisory_lock(77431708279161 - 1234567)", "run by Flyway (holds its advisory lock)"),
        ("select pg_try_advisory_xact_lock(77431708279161 + 99)", "run by Flyway (holds its advisory lock)"),
        ("select pg_try_advisory_lock(16185446, cast(-2147483648 + 5 as int))", "run by pg_repack"),
    ],
)
def test_a_maker_by_what_it_holds(shop: Scene, before: str, said_so: str) -> None:
    assert said_so in staged(shop, before)[1]


def test_golang_migrate_by_the_key_that_goes_with_the_database(shop: Scene) -> None:
    scope = f"public\0schema_migrations\0{shop.admin.info.dbname}".encode()
    assert staged(shop, f"select pg_advisory_lock({zlib.crc32(scope) * 1486364155 % 2**32})")[0] == "golang-migrate"


def test_rails_by_the_key_that_goes_with_the_database(shop: Scene) -> None:
    key = 2053462845 * zlib.crc32(shop.admin.info.dbname.encode())
    assert staged(shop, f"select pg_try_advisory_lock({key})")[0] == "Rails"


def test_a_maker_by_its_name(shop: Scene) -> None:
    maker, evidence = staged(shop, application_name="Flyway by Redgate")
    assert maker == "Flyway"
    assert "run by Flyway (by its application_name)" in evidence


def test_a_maker_by_its_comment_which_is_not_shown(shop: Scene) -> None:
    maker, evidence = staged(shop, ddl=f"-- AlterTable\n-- of my secret\n{_DDL}")
    assert maker == "Prisma Migrate"
    assert "AlterTable" not in evidence
    assert "secret" not in evidence


def test_an_idle_migration_has_its_maker_too(shop: Scene) -> None:
    shop.admin.execute(_HISTORY)
    holder = shop.client("select from alembic_version", _DDL)
    shop.client().block("select from orders")
    facts = blocker(shop.dsn, holder.pid)
    assert (facts.classification, facts.also, facts.maker) == ("idle_in_transaction", ("migration",), "Alembic")
    assert "run by Alembic (holds alembic_version)" in said(facts)


def test_an_advisory_lock_is_said_to_be_a_tools(shop: Scene) -> None:
    holder = shop.client("select pg_advisory_lock(72707369)", autocommit=True)
    shop.client().block("select pg_advisory_lock(72707369)")
    facts = blocker(shop.dsn, holder.pid)
    assert facts.classification == "advisory_lock"
    assert "holds the advisory lock 72707369, the key of Prisma Migrate" in said(facts)


def test_without_the_catalogs_the_rest_is_still_said(shop: Scene) -> None:
    """A lock on pg_namespace takes the names of the tables, not the diagnosis; what is known stays known."""
    holder = shop.client("select pg_advisory_lock(72707369)").start(f"{_DDL}; select pg_sleep(9)")
    shop.client().block("select from orders")
    dsn = shop.dsn

    async def ask() -> tuple[Snapshot, Snapshot]:
        async with await Connection.open(dsn, 5.0) as door, await Connection.open(dsn, 5.0) as other:
            first, later = Collector(door), Collector(other)
            for each in (door, other):
                await warm_up_catalog(each, statement_bytes=0)
            await first.fetch_snapshot()
            shop.client("lock pg_namespace in access exclusive mode")
            return await first.fetch_snapshot(), await later.fetch_snapshot()

    knows, seen = asyncio.run(ask())
    [facts] = [each for each in diagnose(knows).blockers if each.pid == holder.pid]
    assert facts.maker == "Prisma Migrate"
    [facts] = [each for each in diagnose(seen).blockers if each.pid == holder.pid]
    assert (facts.classification, facts.maker) == ("migration", None)
    assert any(what.startswith("migration tool hints could not be read") for what in seen.unread)
