"""What belongs to tables (triggers, rules, policies, statistics, comments, rights), and objects that are no tables."""

from pgdoctor.preflight.rule import Rule

_BODY = "It is code: what it locks shows when it is called."

STATEMENTS: tuple[Rule, ...] = (
    # On tables
    Rule("create [or replace] [constraint] trigger {trigger} before|after|instead ...", locks="triggered SRE"),
    Rule("drop trigger [if exists] {trigger} on {table:r} [restrict|cascade]", locks="family AE"),
    Rule("alter trigger {trigger} on {table:r} ...", locks="family AE"),
    Rule("create [or replace] rule {rule} as ...", locks="ruled AE"),
    Rule("drop rule [if exists] {rule} on {table:r} [restrict|cascade]", locks="table AE"),
    Rule("alter rule {rule} on {table:r} rename to {new}", locks="table AE"),
    Rule("create policy {policy} on {table:r} ...", locks="table AE; read AS", is_at_most=True),
    Rule("alter policy {policy} on {table:r} ...", locks="table AE; read AS", is_at_most=True),
    Rule("drop policy [if exists] {policy} on {table:r} [restrict|cascade]", locks="table AE"),
    Rule("create statistics ...", locks="sourced SUE"),
    Rule("drop statistics ...", locks="measured SUE", is_at_most=True),
    Rule("alter statistics ...", is_at_most=True),
    Rule("comment on table|index|view|sequence {table:r} is ...", locks="table SUE"),
    Rule("comment on materialized|foreign view|table {table:r} is ...", locks="table SUE"),
    Rule("comment on column {path:r} is ...", locks="column_table SUE"),
    Rule("comment on constraint|trigger|rule|policy {name} on {table:r} is ...", locks="table AS"),
    Rule("comment on constraint {name} on domain ..."),
    Rule(
        "comment on function|procedure|routine|aggregate|schema|type|domain|role|extension|database|operator|cast|"
        "collation|language|publication|subscription|server|statistics|tablespace|event|access|text|large|transform ..."
    ),
    Rule("grant|revoke ...", locks="granted AS", when="is_on_tables", since=18, is_at_most=True),
    Rule("grant|revoke ..."),
    Rule("create publication {name} for all tables ..."),
    Rule("create publication {name} for table ...", locks="published SUE", is_at_most=True),
    Rule("create publication {name} [with ()]"),
    Rule("alter publication {name} rename|owner to {new}"),
    Rule("alter publication {name} add|drop|set table ...", locks="published SUE", is_at_most=True),
    Rule("drop publication [if exists] {name} [restrict|cascade]"),
    # Types and domains
    Rule("create type ..."),
    Rule("create domain ..."),
    Rule("alter type {type:r} add value ...", note="The new value cannot be used before the commit."),
    Rule("alter type {type:r} rename value ...", note="Clients that still use the old name fail from the commit on."),
    Rule("alter type {type:r} owner to {role}", locks="type_relation AE"),
    Rule("alter type {type:r} rename|set to|schema {new}", locks="type_relation AE"),
    Rule("alter type {type:r} rename attribute {column} to {new} [restrict|cascade]", locks="type_relation AE"),
    Rule("alter type {type:r} add|drop|alter attribute ...", locks="type_relation AE"),
    Rule("drop type|domain [if exists] {type:r} [restrict]", locks="type_relation AE"),
    Rule(
        "drop type [if exists] {type:r} cascade",
        work="unknown",
        when="is_composite",
        note="With CASCADE it drops the tables that are of the type, and the columns that have it.",
    ),
    Rule(
        "drop type|domain [if exists] {type:r} cascade",
        locks="type_relation AE; type_tables AE",
        note="The columns of that type are dropped with it.",
    ),
    Rule("alter domain {type:r} add [constraint {constraint}] check () not valid"),
    Rule(
        "alter domain {type:r} add [constraint {constraint}] check () [not] [null]",
        locks="type_tables S",
        work="scan",
        works_on="type_tables",
        safe="ALTER DOMAIN {type} ADD CONSTRAINT {constraint} CHECK <condition> NOT VALID;\n"
        "-- VALIDATE CONSTRAINT takes ShareLock too, and reads each table that has a column of it",
    ),
    Rule("alter domain {type:r} set not null", locks="type_tables S", work="scan", works_on="type_tables"),
    Rule(
        "alter domain {type:r} add [constraint {constraint}] not null",
        locks="type_tables S",
        work="scan",
        works_on="type_tables",
        since=17,
    ),
    Rule(
        "alter domain {type:r} validate constraint {constraint}",
        locks="type_tables S",
        work="scan",
        works_on="type_tables",
    ),
    Rule("alter domain {type:r} drop not null"),
    Rule("alter domain {type:r} set default ..."),
    Rule("alter domain {type:r} drop default"),
    Rule("alter domain {type:r} drop constraint [if exists] {constraint} [restrict|cascade]"),
    Rule("alter domain {type:r} rename constraint {constraint} to {new}"),
    Rule("alter domain {type:r} rename|owner to {new}"),
    Rule("alter domain {type:r} set schema {new}"),
    # Code, schemas, roles: no lock on a relation
    Rule("create [or replace] function|procedure|aggregate ...", note=_BODY),
    Rule("alter function|procedure|routine|aggregate ..."),
    Rule(
        "drop function|procedure|routine|aggregate ...",
        work="unknown",
        when="cascades",
        note="With CASCADE it drops whatever uses it: triggers, views, defaults, indexes.",
    ),
    Rule("drop function|procedure|routine|aggregate ..."),
    Rule("create schema [if not exists] {name} [authorization {role}]"),
    Rule("create schema authorization {role}"),
    Rule("alter schema {name} rename|owner to {new}"),
    Rule("drop schema [if exists] {name} [restrict]"),
    Rule("create role|user|group ..."),
    Rule("alter role|user|group ..."),
    Rule("drop role|user|group ..."),
    Rule("alter default privileges ..."),
    Rule("create cast|collation|operator|conversion|language ..."),
    Rule("create [unique] extension if not exists plpgsql ..."),
)
