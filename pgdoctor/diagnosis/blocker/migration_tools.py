"""The tool that runs a migration, by what it leaves where we can see it. One row a tool.

A sign is the name a session gives itself, the key of an advisory lock it holds, a version table it has a lock on, a
name in its statement that the tool has made up, or the form of a comment before or behind it. Comments are looked at
and never repeated.
Source: each tool's own repository, for its lock: rails/rails `activerecord/lib/active_record/migration.rb`; flyway
`PostgreSQLAdvisoryLockTemplate.java`; golang-migrate `database/util.go`; prisma-engines `flavour/postgres.rs`; atlas
`sql/postgres/driver.go`, `cmdapi/migrate.go`; goose `lock/session_locker_options.go`; sqitch `Engine/pg.pm`; sqlx
`sqlx-postgres/src/migrate.rs`; node-pg-migrate `runner.ts`; pg_repack `bin/pg_repack.c`; reshape `src/db.rs`; pg-osc
`lib/pg_online_schema_change/orchestrate.rb`, for the names of its tables.
"""

import re
from collections.abc import Callable, Iterable
from typing import NamedTuple
from zlib import crc32

from pgdoctor.model.advisory_key import AdvisoryKey
from pgdoctor.model.snapshot import ToolTraces
from pgdoctor.sqltext.lexer import scan_tokens

_PRISMA = (
    "CreateTable|AlterTable|DropTable|CreateIndex|DropIndex|RenameIndex|AddForeignKey|DropForeignKey|"
    "RenameForeignKey|CreateEnum|AlterEnum|DropEnum|RedefineTables|CreateSchema"
)


class MigrationTool(NamedTuple):
    """A migration tool and its signs; missing parts are empty."""

    name: str
    #: Words by which a session calls itself, in lower case.
    words: tuple[str, ...] = ()
    #: Whether a bigint is its advisory lock in a database of that name.
    owns: Callable[[int, str], bool] = lambda _number, _database: False
    #: Tables where it records its work.
    tables: tuple[str, ...] = ()
    #: The schema that it keeps for itself.
    schema: str = ""
    #: How the names of tables begin that it makes beside the one it changes.
    prefixes: tuple[str, ...] = ()
    #: How a comment looks that it puts beside a statement.
    comment: str = ""


class DetectedTool(NamedTuple):
    """A tool and the sign that it was recognised by."""

    name: str
    sign: str

    def __str__(self) -> str:
        return f"run by {self.name} ({self.sign})"


def _crc_hash(text: str) -> int:
    return crc32(text.encode())


def _fnv_hash(text: str) -> int:
    """FNV-1 with 32 bits."""
    found = 2_166_136_261
    for byte in text.encode():
        found = found * 16_777_619 % 2**32 ^ byte
    return found


def _is_rails(number: int, database: str) -> bool:
    return number == 2_053_462_845 * _crc_hash(database)


def _is_sqlx(number: int, database: str) -> bool:
    return number == 0x3D32AD9E * _crc_hash(database)


def _is_flyway(number: int, _: str) -> bool:
    """The letters of its name, and to them the Java hash of its table's name: 32 bits with a sign."""
    return -(2**31) <= number - int.from_bytes(b"Flyway") < 2**31


def _golang_migrate(number: int, database: str) -> bool:
    """Of the schema and the table of versions only the defaults can be guessed; older releases had neither."""
    scopes = (database, f"public\0{database}", f"public\0schema_migrations\0{database}")
    return number in {_crc_hash(scope) * 1_486_364_155 % 2**32 for scope in scopes}


def _one_of(*numbers: int) -> Callable[[int, str], bool]:
    return lambda number, _: number in numbers


#: A tool further up is reported before one further down.
TOOLS = (
    MigrationTool("Alembic", ("alembic",), tables=("alembic_version",)),
    MigrationTool("Django", ("django",), tables=("django_migrations",), comment=r"framework='django\b"),
    MigrationTool("Flyway", ("flyway",), _is_flyway, ("flyway_schema_history",)),
    MigrationTool(
        "Liquibase",
        ("liquibase",),
        tables=("databasechangelog", "databasechangeloglock"),
        comment=r"^-- ?(liquibase formatted sql|changeset \S+:\S+)",
    ),
    MigrationTool(
        "Rails", ("rails", "activerecord"), _is_rails, ("ar_internal_metadata",), comment=r"framework='rails"
    ),
    MigrationTool(
        "Prisma Migrate", ("prisma",), _one_of(72_707_369), ("_prisma_migrations",), comment=rf"^-- ({_PRISMA})\s*$"
    ),
    MigrationTool(
        "Atlas",
        owns=_one_of(*(_fnv_hash(f"atlas_migrate_{what}") for what in ("execute", "diff"))),
        tables=("atlas_schema_revisions",),
        schema="atlas_schema_revisions",
    ),
    MigrationTool("golang-migrate", ("golang-migrate",), _golang_migrate),
    MigrationTool(
        "goose", ("goose",), _one_of(5_887_940_537_704_921_958), ("goose_db_version",), comment=r"^-- ?\+goose\b"
    ),
    MigrationTool("dbmate", ("dbmate",), comment=r"^-- ?migrate:(up|down)\b"),
    MigrationTool("Sqitch", ("sqitch",), _one_of(75_474_063), schema="sqitch"),
    MigrationTool("sqlx", ("sqlx",), _is_sqlx, ("_sqlx_migrations",)),
    MigrationTool("node-pg-migrate", ("node-pg-migrate",), _one_of(7_241_865_325_823_964), ("pgmigrations",)),
    MigrationTool("Knex", ("knex",), tables=("knex_migrations", "knex_migrations_lock")),
    MigrationTool("Sequelize", ("sequelize",), tables=("SequelizeMeta",)),
    MigrationTool("Drizzle", ("drizzle",), tables=("__drizzle_migrations",)),
    MigrationTool("Entity Framework", tables=("__EFMigrationsHistory",)),
    MigrationTool("Diesel", ("diesel",), tables=("__diesel_schema_migrations",)),
    MigrationTool("pg_repack", ("pg_repack",), schema="repack"),
    MigrationTool("pgroll", ("pgroll",), schema="pgroll"),
    MigrationTool("reshape", owns=_one_of(4_036_779_288_569_897_133), schema="reshape"),
    MigrationTool("pg-osc", ("pg-osc",), prefixes=("pgosc_st_", "pgosc_at_")),
    MigrationTool("Rails, golang-migrate, dbmate or Ecto", tables=("schema_migrations",)),
)

#: Tables by which a tool keeps its other instances out: it locks a row or all of it on one connection, and may migrate
#: on another. Liquibase and Keycloak; Flyway; Knex; Ecto, which locks the table itself.
_LOCK_TABLES = frozenset(
    {"databasechangeloglock", "flyway_schema_history", "knex_migrations_lock", "schema_migrations"}
)

#: Tables and schemas whose locks are worth asking for.
TABLES = tuple(table for tool in TOOLS for table in tool.tables)
SCHEMAS = tuple(tool.schema for tool in TOOLS if tool.schema)

_REPACK_CLASS = 16_185_446

#: Comments are looked for in so many characters at either end of a statement.
_ENDS = 2_000
_LEADING = re.compile(r"(?:\s++|--[^\r\n]*+|/\*(?:[^*]++|\*(?!/))*+\*/)++")
_TRAILING = re.compile(r"/\*[^*]*+\*/[\s;]*\Z")


def detect_tool(application: str, statement: str, traces: ToolTraces, database: str) -> DetectedTool | None:
    """The tool behind a session; None where nothing gives one away."""
    signs = (
        *((tool, _by_name(tool, application)) for tool in TOOLS),
        *((tool, _by_key(tool, traces.keys, database)) for tool in TOOLS),
        *((tool, _by_table(tool, traces.tables)) for tool in TOOLS),
        *((tool, _by_comment(tool, statement)) for tool in TOOLS),
        *((tool, _by_prefix(tool, statement)) for tool in TOOLS if tool.prefixes),
    )
    return next((DetectedTool(tool.name, sign) for tool, sign in signs if sign), None)


def detect_lock_owner(key: AdvisoryKey, database: str) -> str | None:
    """The tool whose advisory lock this is, by the name of the database that it is taken in."""
    high, low, form = key
    if form == 2:
        return "pg_repack" if high == _REPACK_CLASS else None
    number = high << 32 | low
    return next((tool.name for tool in TOOLS if tool.owns(number, database)), None)


def detect_table_owner(table: str) -> str | None:
    """The tool that keeps its lock in a table of this name, which may have a schema."""
    bare = table.rpartition(".")[2].strip('"').lower()
    return next((tool.name for tool in TOOLS if bare in _LOCK_TABLES and bare in tool.tables), None)


def detect_row_lock(table: str) -> bool:
    """Whether Liquibase keeps its lock in a table of this name, which may have a schema: as a value of a row."""
    return table.rpartition(".")[2].strip('"').lower() == "databasechangeloglock"


def _by_name(tool: MigrationTool, application: str) -> str:
    name = application.lower()
    known = any(re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", name) for word in tool.words)
    return "by its application_name" if known else ""


def _by_key(tool: MigrationTool, keys: Iterable[AdvisoryKey], database: str) -> str:
    return "holds its advisory lock" if any(detect_lock_owner(key, database) == tool.name for key in keys) else ""


def _by_table(tool: MigrationTool, tables: Iterable[tuple[str, str]]) -> str:
    for schema, table in tables:
        if table in tool.tables:
            return f"holds {table}"
        if tool.schema and schema == tool.schema:
            return f"holds {schema}.{table}"
    return ""


def _by_comment(tool: MigrationTool, statement: str) -> str:
    known = tool.comment and any(re.search(tool.comment, each, re.MULTILINE) for each in _find_comments(statement))
    return "by the comment at its statement" if known else ""


def _by_prefix(tool: MigrationTool, statement: str) -> str:
    if not any(prefix in statement for prefix in tool.prefixes):
        return ""
    found = any(token.is_name and token.value.startswith(tool.prefixes) for token in scan_tokens(statement))
    return "by the name of a table in its statement" if found else ""


def _find_comments(statement: str) -> Iterable[str]:
    if found := _LEADING.match(statement[:_ENDS]):
        yield found[0]
    if found := _TRAILING.search(statement[-_ENDS:]):
        yield found[0]
