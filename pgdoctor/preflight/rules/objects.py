"""What belongs to tables (triggers, rules, policies, statistics, comments, rights), and objects that are no tables."""

from pgdoctor.preflight.rule import LockRule

_BODY = "Its code may take further locks when it is called."

STATEMENTS: tuple[LockRule, ...] = (
    # On tables
    LockRule("create [or replace] [constraint] trigger {trigger} before|after|instead ...", locks="triggered SRE"),
    LockRule("drop trigger [if exists] {trigger} on {table:r} [restrict|cascade]", locks="family AE"),
    LockRule("alter trigger {trigger} on {table:r} ...", locks="family AE"),
    LockRule("create [or replace] rule {rule} as ...", locks="ruled AE"),
    LockRule("drop rule [if exists] {rule} on {table:r} [restrict|cascade]", locks="table AE"),
    LockRule("alter rule {rule} on {table:r} rename to {new}", locks="table AE"),
    LockRule("create policy {policy} on {table:r} ...", locks="table AE; read AS", is_at_most=True),
    LockRule("alter policy {policy} on {table:r} ...", locks="table AE; read AS", is_at_most=True),
    LockRule("drop policy [if exists] {policy} on {table:r} [restrict|cascade]", locks="table AE"),
    LockRule("create statistics ...", locks="sourced SUE"),
    LockRule("drop statistics ...", locks="measured SUE", is_at_most=True),
    LockRule("alter statistics ...", is_at_most=True),
    LockRule("comment on table|index|view|sequence {table:r} is ...", locks="table SUE"),
    LockRule("comment on materialized|foreign view|table {table:r} is ...", locks="table SUE"),
    LockRule("comment on column {path:r} is ...", locks="column_table SUE"),
    LockRule("comment on constraint|trigger|rule|policy {name} on {table:r} is ...", locks="table AS"),
    LockRule("comment on constraint {name} on domain ..."),
    LockRule(
        "comment on function|procedure|routine|aggregate|schema|type|domain|role|extension|database|operator|cast|"
        "collation|language|publication|subscription|server|statistics|tablespace|event|access|text|large|transform ..."
    ),
    LockRule("grant|revoke ...", locks="granted AS", when="is_on_tables", since=18, is_at_most=True),
    LockRule("grant|revoke ..."),
    LockRule("create publication {name} for all tables ..."),
    LockRule("create publication {name} for table ...", locks="published SUE", is_at_most=True),
    LockRule("create publication {name} [with ()]"),
    LockRule("alter publication {name} rename|owner to {new}"),
    LockRule("alter publication {name} add|drop|set table ...", locks="published SUE", is_at_most=True),
    LockRule("drop publication [if exists] {name} [restrict|cascade]"),
    # Types and domains
    LockRule("create type ..."),
    LockRule("create domain ..."),
    LockRule("alter type {type:r} add value ...", note="The new value cannot be used before the commit."),
    LockRule(
        "alter type {type:r} rename value ...", note="Clients that still use the old name fail from the commit on."
    ),
    LockRule("alter type {type:r} owner to {role}", locks="type_relation AE"),
    LockRule("alter type {type:r} rename|set to|schema {new}", locks="type_relation AE"),
    LockRule("alter type {type:r} rename attribute {column} to {new} [restrict|cascade]", locks="type_relation AE"),
    LockRule("alter type {type:r} add|drop|alter attribute ...", locks="type_relation AE"),
    LockRule("drop type|domain [if exists] {type:r} [restrict]", locks="type_relation AE"),
    LockRule(
        "drop type [if exists] {type:r} cascade",
        work="unknown",
        when="is_composite",
        note="With CASCADE it drops the tables that are of the type, and the columns that have it.",
    ),
    LockRule(
        "drop type|domain [if exists] {type:r} cascade",
        locks="type_relation AE; type_tables AE",
        note="The columns of that type are dropped with it.",
    ),
    LockRule("alter domain {type:r} add [constraint {constraint}] check () not valid"),
    LockRule(
        "alter domain {type:r} add [constraint {constraint}] check () [not] [null]",
        locks="type_tables S",
        work="scan",
        works_on="type_tables",
        safe="ALTER DOMAIN {type} ADD CONSTRAINT {constraint} CHECK <condition> NOT VALID;\n"
        "-- VALIDATE CONSTRAINT takes ShareLock too, and reads each table that has a column of it",
    ),
    LockRule("alter domain {type:r} set not null", locks="type_tables S", work="scan", works_on="type_tables"),
    LockRule(
        "alter domain {type:r} add [constraint {constraint}] not null",
        locks="type_tables S",
        work="scan",
        works_on="type_tables",
        since=17,
    ),
    LockRule(
        "alter domain {type:r} validate constraint {constraint}",
        locks="type_tables S",
        work="scan",
        works_on="type_tables",
    ),
    LockRule("alter domain {type:r} drop not null"),
    LockRule("alter domain {type:r} set default ..."),
    LockRule("alter domain {type:r} drop default"),
    LockRule("alter domain {type:r} drop constraint [if exists] {constraint} [restrict|cascade]"),
    LockRule("alter domain {type:r} rename constraint {constraint} to {new}"),
    LockRule("alter domain {type:r} rename|owner to {new}"),
    LockRule("alter domain {type:r} set schema {new}"),
    # Code, schemas, roles: no lock on a relation
    LockRule("create [or replace] function|procedure|aggregate ...", note=_BODY),
    LockRule("alter function|procedure|routine|aggregate ..."),
    LockRule(
        "drop function|procedure|routine|aggregate ...",
        work="unknown",
        when="cascades",
        note="With CASCADE it drops all objects that use it: triggers, views, defaults, indexes.",
    ),
    LockRule("drop function|procedure|routine|aggregate ..."),
    LockRule("create schema [if not exists] {name} [authorization {role}]"),
    LockRule("create schema authorization {role}"),
    LockRule("alter schema {name} rename|owner to {new}"),
    LockRule("drop schema [if exists] {name} [restrict]"),
    LockRule("create role|user|group ..."),
    LockRule("alter role|user|group ..."),
    LockRule("drop role|user|group ..."),
    LockRule("alter default privileges ..."),
    LockRule("create cast|collation|operator|conversion|language ..."),
    LockRule("create [unique] extension if not exists plpgsql ..."),
)
