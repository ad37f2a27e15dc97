"""Who runs a migration: what must not give a tool away first, then the signs of each."""

import pytest

from pgdoctor.diagnosis.blocker.migration_tools import TOOLS, detect_lock_owner, detect_tool
from pgdoctor.model.advisory_key import AdvisoryKey
from pgdoctor.model.snapshot import ToolTraces

DATABASE = "shop"


def bigint(number: int) -> AdvisoryKey:
    number %= 2**64
    return number >> 32, number % 2**32, 1


def named(application: str = "", statement: str = "", **traces: object) -> str | None:
    found = detect_tool(application, statement, ToolTraces(**traces), DATABASE)
    return found.name if found else None


@pytest.mark.parametrize(
    "application", ["", "psql", "django_shop", "prismatic", "mygoose", "atlas", "PostgreSQL JDBC Driver", "migrate-app"]
)
def test_other_names_give_no_tool_away(application):
    assert named(application) is None


@pytest.mark.parametrize(
    "statement",
    [
        "alter table t add note text default '-- AlterTable'",
        "alter table t add c int; -- AlterTable",
        "insert into t values ('/*framework=''django''*/')",
        "-- AlterTable of the orders\nalter table orders add c int",
        "-- migrate: upwards\nselect 1",
        "alter table t add c int /* application='shop' */",
        "/* never closed framework='django",
        "-- AlterTable" * 1000,
        "insert into t values ('pgosc_st_orders_1')",
        "alter table my_pgosc_st_orders add c int /* pgosc_st_orders_1 */",
    ],
)
def test_comments_of_people_and_literals_give_no_tool_away(statement):
    assert named(statement=statement) is None


@pytest.mark.parametrize("number", [1, -1, 72707368, 2053462845, 1486364155, 5887940537704921957, 0x466C79776179 << 8])
def test_other_keys_belong_to_no_tool(number):
    assert detect_lock_owner(bigint(number), DATABASE) is None


def test_a_key_is_that_of_its_database():
    assert detect_lock_owner(bigint(2053462845 * 0x9D3E7D2F), DATABASE) is None
    assert detect_lock_owner((0, 72707369, 2), DATABASE) is None, "a pair of integers is another lock than the bigint"


@pytest.mark.parametrize("table", ["orders", "migrations", "alembic_version_old", "my_schema_migrations"])
def test_other_tables_give_no_tool_away(table):
    assert named(tables=(("public", table),)) is None


@pytest.mark.parametrize(
    ("application", "tool"),
    [
        ("Flyway by Redgate", "Flyway"),
        ("alembic", "Alembic"),
        ("bin/rails", "Rails"),
        ("pg_repack", "pg_repack"),
        ("shop: Liquibase 4.29", "Liquibase"),
    ],
)
def test_a_tool_that_says_its_name(application, tool):
    found = detect_tool(application, "", ToolTraces(), DATABASE)
    assert str(found) == f"run by {tool} (by its application_name)"


# crc32("shop") = 0xAC6A4CA2, computed with Python's zlib; the products as each tool's source writes them.
CRC = 0xAC6A4CA2


@pytest.mark.parametrize(
    ("key", "tool"),
    [
        (bigint(2053462845 * CRC), "Rails"),
        (bigint(0x3D32AD9E * CRC), "sqlx"),
        (bigint(CRC * 1486364155 % 2**32), "golang-migrate"),
        (bigint(72707369), "Prisma Migrate"),
        (bigint(5887940537704921958), "goose"),
        (bigint(75474063), "Sqitch"),
        (bigint(7241865325823964), "node-pg-migrate"),
        (bigint(77431708279161), "Flyway"),
        (bigint(77431708279161 - 2**31), "Flyway"),
        (bigint(77431708279161 + 2**31 - 1), "Flyway"),
        (bigint(2686470616), "Atlas"),
        (bigint(4036779288569897133), "reshape"),
        ((16185446, 5, 2), "pg_repack"),
    ],
)
def test_the_key_of_each_tool(key, tool):
    assert detect_lock_owner(key, DATABASE) == tool
    assert str(detect_tool("app", "alter table t add c int", ToolTraces(keys=(key,)), DATABASE)) == (
        f"run by {tool} (holds its advisory lock)"
    )


@pytest.mark.parametrize(
    ("table", "tool"),
    [(table, tool.name) for tool in TOOLS for table in tool.tables] + [("log_16385", "pg_repack"), ("x", "pgroll")],
)
def test_the_tables_of_each_tool(table, tool):
    schema = {"log_16385": "repack", "x": "pgroll"}.get(table, "public")
    assert named(tables=((schema, table),)) == tool


@pytest.mark.parametrize(
    ("statement", "tool"),
    [
        ('-- AlterTable\nALTER TABLE "Order" ADD COLUMN "c" INTEGER;', "Prisma Migrate"),
        ("-- migrate:up\nalter table t add c int", "dbmate"),
        ("-- +goose Up\nalter table t add c int", "goose"),
        ("--liquibase formatted sql\n--changeset me:1\nalter table t add c int", "Liquibase"),
        ("alter table t add c int /*app='shop',framework='django%3A5.1'*/;", "Django"),
    ],
)
def test_the_comment_is_reported_by_its_form_and_never_shown(statement, tool):
    assert str(detect_tool("", statement, ToolTraces(), DATABASE)) == f"run by {tool} (by the comment at its statement)"


def test_the_tables_that_pg_osc_makes_give_it_away():
    said = 'INSERT INTO "pgosc_st_orders_815029" SELECT * FROM orders'
    assert (
        str(detect_tool("", said, ToolTraces(), DATABASE)) == "run by pg-osc (by the name of a table in its statement)"
    )


def test_the_name_it_gives_itself_counts_more_than_a_table_that_several_use():
    assert named("bin/rails", tables=(("public", "schema_migrations"),)) == "Rails"
    assert named(tables=(("public", "schema_migrations"),)) == "Rails, golang-migrate, dbmate or Ecto"
