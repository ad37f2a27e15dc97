"""Tables, views and sequences: made, dropped, emptied, changed as a whole."""

from pgdoctor.preflight.rule import LockRule

_DROPPED = (
    "dropped AE; dropped.indexes AE; dropped.toast AE; dropped.toast.indexes AE; dropped.sequences AE; "
    "dropped.referenced AE; dropped.parents AE; dropped.parents.default AE"
)
_CASCADE = f"{_DROPPED}; dropped.referencing AE; dropped.views AE; dropped.views.indexes AE; dropped.statistics SUE"
_GONE = "The commit removes the data, and clients that still use it fail: deploy the client first."
_UNUSED = "Clients that still use it fail from the commit on: deploy the client first."
_TRUNCATED = "truncated AE; truncated.stored.indexes AE; truncated.toast AE; truncated.toast.indexes AE"
_READ = "read AS; read.indexes AS"

_CREATE_TABLE = "create [global|local] [temporary|temp|unlogged] table [if not exists] {table:r}"
_CREATE_WITH_COLUMNS = (
    f"{_CREATE_TABLE} () [inherits ()] [partition by {{how}} ()] [using {{method}}] [with ()] [without oids] "
    "[on commit drop|delete|preserve] [rows] [tablespace {place}]"
)
_CREATE_MATVIEW = "create [unlogged] materialized view [if not exists] {table:r}"

STATEMENTS: tuple[LockRule, ...] = (
    LockRule(f"{_CREATE_TABLE} as ...", locks=_READ, work="unknown", when="calls_unknown", is_at_most=True),
    LockRule(f"{_CREATE_TABLE} as ...", locks=_READ, is_at_most=True, leaves="created"),
    LockRule(f"{_CREATE_TABLE} () as ...", locks=_READ, work="unknown", when="calls_unknown", is_at_most=True),
    LockRule(f"{_CREATE_TABLE} () as ...", locks=_READ, is_at_most=True, leaves="created"),
    LockRule(
        f"{_CREATE_TABLE} partition of {{parent:r}} ...",
        locks="parent AE; parent.indexes SUE; parent.default AE; parent.referenced SRE; parent.referencing SRE",
        leaves="created",
        work="scan",
        works_on="parent.default",
        safe="CREATE TABLE {table} (LIKE {parent} INCLUDING DEFAULTS INCLUDING CONSTRAINTS);\n"
        "ALTER TABLE {parent} ATTACH PARTITION {table} <bounds>; -- blocks no reader and no writer of the parent",
        note="Where the table has a default partition, that is read, for its rows may belong here.",
    ),
    LockRule(
        _CREATE_WITH_COLUMNS,
        locks="key_index AS",
        when="has_reference",
        since=15,
        goes_on=True,
    ),
    LockRule(
        _CREATE_WITH_COLUMNS,
        locks="liked.sequences AS",
        when="includes_defaults",
        goes_on=True,
        since=15,
    ),
    LockRule(
        _CREATE_WITH_COLUMNS,
        locks="literal_sequences AS",
        goes_on=True,
        since=15,
    ),
    LockRule(
        _CREATE_WITH_COLUMNS,
        locks="other SRE; liked AS; inherited SUE",
        leaves="created",
    ),
    LockRule(f"{_CREATE_TABLE} of {{type:r}} ...", leaves="created", locks="other SRE; type_relation AS"),
    LockRule(
        "create [or replace] [temporary|temp] [recursive] view {table:r} ...",
        locks="table AE; read AS",
        when="replaces",
        is_at_most=True,
    ),
    LockRule(
        "create [or replace] [temporary|temp] [recursive] view {table:r} ...",
        locks="read AS",
        is_at_most=True,
        leaves="created",
    ),
    LockRule(f"{_CREATE_MATVIEW} ...", locks=_READ, work="unknown", when="calls_unknown", is_at_most=True),
    LockRule(f"{_CREATE_MATVIEW} ...", locks=_READ, is_at_most=True, leaves="created"),
    LockRule(
        "create [temporary|temp|unlogged] sequence [if not exists] {table:r} ...",
        locks="owned AS",
        leaves="created",
    ),
    LockRule("drop table [if exists] {tables:l} [restrict]", locks=_DROPPED, note=_GONE),
    LockRule("drop table [if exists] {tables:l} cascade", locks=_CASCADE, note=_GONE),
    LockRule("drop foreign table [if exists] {tables:l} [restrict]", locks=_DROPPED, note=_UNUSED),
    LockRule("drop view [if exists] {tables:l} [restrict]", locks="table AE", note=_UNUSED),
    LockRule("drop sequence [if exists] {tables:l} [restrict]", locks="table AE", note=_UNUSED),
    LockRule(
        "drop view [if exists] {tables:l} cascade",
        locks="table AE; table.views AE; table.views.indexes AE",
        note=_UNUSED,
    ),
    LockRule(
        "drop materialized view [if exists] {tables:l} [restrict]",
        locks="table AE; table.indexes AE; table.toast AE; table.toast.indexes AE",
        note=_UNUSED,
    ),
    LockRule(
        "drop materialized view [if exists] {tables:l} cascade",
        locks="table AE; table.indexes AE; table.toast AE; "
        "table.toast.indexes AE; table.views AE; table.views.indexes AE",
        note=_UNUSED,
    ),
    LockRule("drop sequence [if exists] {tables:l} cascade", locks="table AE; sequence_owner AE", note=_UNUSED),
    LockRule(
        "truncate [table] {tables:l} [restart|continue] [identity] [restrict|cascade]",
        locks="truncated.sequences AE",
        when="restarts_identity",
        goes_on=True,
    ),
    LockRule(
        "truncate [table] {tables:l} [restart|continue] [identity] [restrict|cascade]",
        locks=_TRUNCATED,
        note="The commit removes the data of all these tables.",
    ),
    LockRule("alter view|sequence [if exists] {table:r} rename to {new}", locks="table AE", leaves="renamed"),
    LockRule("alter view [if exists] {table:r} rename [column] {column} to {new}", locks="table AE"),
    LockRule("alter view|sequence [if exists] {table:r} owner to {role}", locks="table AE"),
    LockRule("alter view|sequence [if exists] {table:r} set schema {new}", locks="table AE"),
    LockRule("alter view [if exists] {table:r} set|reset ()", locks="table AE"),
    LockRule("alter view [if exists] {table:r} alter [column] {column} set default ...", locks="table AE"),
    LockRule("alter view [if exists] {table:r} alter [column] {column} drop default", locks="table AE"),
    LockRule("alter materialized view [if exists] {table:r} rename to {new}", locks="table AE", leaves="renamed"),
    LockRule("alter materialized view [if exists] {table:r} rename [column] {column} to {new}", locks="table AE"),
    LockRule(
        "alter materialized view [if exists] {table:r} owner to {role}",
        locks="table AE; table.indexes AE; table.toast AE; table.toast.indexes AE",
    ),
    LockRule("alter materialized view [if exists] {table:r} set schema {new}", locks="table AE"),
    LockRule("alter materialized view [if exists] {table:r} set|reset ()", locks="table SUE; table.toast SUE"),
    LockRule("alter sequence [if exists] {table:r} set logged|unlogged", locks="table AE", since=15),
    LockRule(
        "alter sequence [if exists] {table:r} ...",
        locks="table SRE; owned AS",
        note="nextval() waits until the transaction ends.",
    ),
    LockRule("lock [table] {tables:l} in access share mode [nowait]", locks="locked AS"),
    LockRule("lock [table] {tables:l} in row share mode [nowait]", locks="locked RS"),
    LockRule("lock [table] {tables:l} in row exclusive mode [nowait]", locks="locked RE"),
    LockRule("lock [table] {tables:l} in share update exclusive mode [nowait]", locks="locked SUE"),
    LockRule("lock [table] {tables:l} in share mode [nowait]", locks="locked S"),
    LockRule("lock [table] {tables:l} in share row exclusive mode [nowait]", locks="locked SRE"),
    LockRule("lock [table] {tables:l} in exclusive mode [nowait]", locks="locked E"),
    LockRule("lock [table] {tables:l} [in access exclusive mode] [nowait]", locks="locked AE"),
)
