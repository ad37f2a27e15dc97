"""Actions of ALTER TABLE.

Source: `AlterTableGetLockLevel` and the phases of tablecmds.c, 14 to 18; each row was compared with `pg_locks` of a
server of 14 and of 18, see `tests/preflight/test_truth.py`.
"""

from pgdoctor.preflight.rule import LockRule

_REWRITE = "family AE; stored.indexes AE; stored.toast AE; stored.toast.indexes AE"
_KEY = "other SRE"
_BOTH_INDEXES = "stored.indexes AS; other.children SRE; other.children.stored.indexes AS"

_ADD_COLUMN = "add [column] [if not exists] {column} ..."
_BATCHES = (
    "ALTER TABLE {table} ADD COLUMN {column} <type>; -- without default and constraint\n"
    "ALTER TABLE {table} ALTER COLUMN {column} SET DEFAULT <default>;\n"
    "-- UPDATE in batches of some thousand rows, each in its own transaction"
)
_NOT_VALID = (
    "ALTER TABLE {table} ADD CONSTRAINT {constraint} <definition> NOT VALID;\n"
    "-- then in a transaction of its own, which blocks no reader and no writer:\n"
    "ALTER TABLE {table} VALIDATE CONSTRAINT {constraint};"
)
_USING_INDEX = (
    "CREATE UNIQUE INDEX CONCURRENTLY {constraint} ON {table} (<columns>); -- outside of a transaction\n"
    "ALTER TABLE {table} ADD CONSTRAINT {constraint} <UNIQUE or PRIMARY KEY> USING INDEX {constraint};"
)
_SET_NOT_NULL = (
    "ALTER TABLE {table} ADD CONSTRAINT {column}_not_null CHECK ({column} IS NOT NULL) NOT VALID;\n"
    "-- then in a transaction of its own:\n"
    "ALTER TABLE {table} VALIDATE CONSTRAINT {column}_not_null;\n"
    "ALTER TABLE {table} ALTER COLUMN {column} SET NOT NULL;\n"
    "ALTER TABLE {table} DROP CONSTRAINT {column}_not_null;"
)
_NEW_COLUMN = (
    "ALTER TABLE {table} ADD COLUMN {column}_new <type>;\n"
    "-- a trigger that fills it, UPDATE in batches, then rename both columns in one short transaction"
)
_BREAKS = "Clients that still use the old form fail from the commit on: deploy the client first."

_RETYPE = (
    f"{_REWRITE}; column_indexes AE; column_referencing AE; column_referencing_valid.indexes AS; column_referenced AE; "
    "column_referenced.indexes AS"
)

ACTIONS: tuple[LockRule, ...] = (
    # Columns
    LockRule(
        _ADD_COLUMN, when="unreadable_column", work="unknown", locks="family AE", note="The column cannot be read."
    ),
    LockRule(_ADD_COLUMN, locks="literal_sequences RE", when="draws_number", goes_on=True),
    LockRule(_ADD_COLUMN, locks=f"{_KEY}", when="adds_reference", goes_on=True, safe=_NOT_VALID),
    LockRule(_ADD_COLUMN, locks="key_index AS", when="adds_reference", goes_on=True, since=15),
    LockRule(
        _ADD_COLUMN,
        locks=_REWRITE,
        work="rewrite",
        works_on="family",
        when="rewrites_new_column",
        safe=_BATCHES,
        leaves="column",
    ),
    LockRule(
        _ADD_COLUMN,
        locks="family AE",
        work="build",
        works_on="family",
        when="adds_index",
        safe=_USING_INDEX,
        leaves="column",
    ),
    LockRule(
        _ADD_COLUMN,
        locks="family AE",
        work="scan",
        works_on="family",
        when="scans_new_column",
        safe=_NOT_VALID,
        leaves="column",
    ),
    LockRule(_ADD_COLUMN, locks="family AE", leaves="column"),
    LockRule(
        "drop [column] [if exists] {column} [restrict]",
        locks="family AE; column_indexes AE; column_referenced AE; column_sequences AE",
        note=_BREAKS,
    ),
    LockRule(
        "drop [column] [if exists] {column} cascade",
        locks="family AE; column_indexes AE; column_referenced AE; column_sequences AE; column_referencing AE; "
        "column_views AE; column_views.views AE; column_views.indexes AE",
        note=_BREAKS,
    ),
    LockRule("alter [column] {column} set default ...", locks="literal_sequences AS", goes_on=True, since=15),
    LockRule("alter [column] {column} set default ...", locks="family AE"),
    LockRule("alter [column] {column} drop default", locks="family AE"),
    LockRule("alter [column] {column} drop not null", locks="family AE"),
    LockRule("alter [column] {column} drop expression [if exists]", locks="family AE"),
    LockRule(
        "alter [column] {column} set not null",
        locks="family AE",
        work="scan",
        works_on="family",
        when="may_be_null",
        safe=_SET_NOT_NULL,
    ),
    LockRule("alter [column] {column} set not null", locks="family AE"),
    LockRule(
        "alter [column] {column} [set data] type ...",
        locks="column_sequences AS",
        when="changes_form",
        goes_on=True,
        since=15,
    ),
    LockRule(
        "alter [column] {column} [set data] type ...",
        locks=_RETYPE,
        work="rewrite",
        works_on="family",
        when="changes_form crosses_zones",
        safe=_NEW_COLUMN,
        is_at_most=True,
        note="Nothing is rewritten where TimeZone is UTC.",
    ),
    LockRule(
        "alter [column] {column} [set data] type ...",
        locks=_RETYPE,
        work="rewrite",
        works_on="family",
        when="changes_form",
        safe=_NEW_COLUMN,
    ),
    LockRule(
        "alter [column] {column} [set data] type ...",
        work="build",
        works_on="family",
        when="rebuilds_indexes",
        goes_on=True,
    ),
    LockRule(
        "alter [column] {column} [set data] type ...",
        locks="family AE; column_indexes AE; column_referencing AE; column_referenced AE",
    ),
    LockRule(
        "alter [column] {column} set expression as ()", locks=_REWRITE, work="rewrite", works_on="family", since=17
    ),
    LockRule("alter [column] {column} set statistics #", locks="family SUE"),
    LockRule("alter [column] {column} set storage {how}", locks="family AE"),
    LockRule("alter [column] {column} set storage default", locks="family AE", since=16),
    LockRule("alter [column] {column} set compression {how}", locks="family AE"),
    LockRule("alter [column] {column} set compression default", locks="family AE"),
    LockRule("alter [column] {column} set|reset ()", locks="family SUE"),
    LockRule("alter [column] {column} add generated always as identity [()]", locks="family AE"),
    LockRule("alter [column] {column} add generated by default as identity [()]", locks="family AE"),
    LockRule("alter [column] {column} drop identity [if exists]", locks="family AE; column_sequences AE"),
    LockRule("alter [column] {column} set generated always", locks="table AE; column_sequences SRE"),
    LockRule("alter [column] {column} set generated by default", locks="table AE; column_sequences SRE"),
    LockRule("alter [column] {column} restart [with #]", locks="table AE; column_sequences SRE"),
    # Constraints
    LockRule(
        "add [constraint {constraint}] foreign key () references {other:r} ...",
        when="validates",
        locks=f"family SRE; {_KEY}; {_BOTH_INDEXES}",
        work="scan",
        works_on="both",
        safe=_NOT_VALID,
        leaves="constraint",
    ),
    LockRule(
        "add [constraint {constraint}] foreign key () references {other:r} ...",
        locks="key_index AS",
        since=15,
        goes_on=True,
    ),
    LockRule(
        "add [constraint {constraint}] foreign key () references {other:r} ...",
        locks=f"family SRE; {_KEY}",
        leaves="constraint",
    ),
    LockRule(
        "add [constraint {constraint}] check () ...",
        locks="family AE",
        when="validates",
        work="scan",
        works_on="family",
        safe=_NOT_VALID,
        leaves="constraint",
    ),
    LockRule("add [constraint {constraint}] check () ...", locks="family AE", leaves="constraint"),
    LockRule(
        "add [constraint {constraint}] not null {column} ...",
        locks="family AE",
        when="validates may_be_null",
        work="scan",
        works_on="family",
        safe=_NOT_VALID,
        since=18,
        leaves="constraint",
    ),
    LockRule("add [constraint {constraint}] not null {column} ...", locks="family AE", since=18, leaves="constraint"),
    LockRule(
        "add [constraint {constraint}] primary key using index {index} [deferrable] [initially deferred]",
        work="scan",
        when="key_may_be_null",
        safe=_SET_NOT_NULL,
        goes_on=True,
    ),
    LockRule(
        "add constraint {constraint} primary|unique [key] using index {index} [deferrable] [initially deferred]",
        locks="table AE; index SUE",
    ),
    LockRule(
        "add primary|unique [key] using index {index} [deferrable] [initially deferred]",
        locks="table AE; index AS",
    ),
    LockRule(
        "add [constraint {constraint}] primary key () ...",
        locks="table AE; descendants S",
        work="build",
        works_on="family",
        safe=_USING_INDEX,
        until=17,
    ),
    LockRule(
        "add [constraint {constraint}] primary key () ...",
        locks="family AE",
        work="build",
        works_on="family",
        safe=_USING_INDEX,
    ),
    LockRule(
        "add [constraint {constraint}] unique [nulls not distinct] () ...",
        locks="table AE; descendants S",
        work="build",
        works_on="family",
        safe=_USING_INDEX,
    ),
    LockRule(
        "add [constraint {constraint}] unique [nulls distinct] () ...",
        locks="table AE; descendants S",
        work="build",
        works_on="family",
        safe=_USING_INDEX,
    ),
    LockRule(
        "add [constraint {constraint}] exclude ...",
        locks="family AE",
        work="build",
        works_on="family",
        note="There is no form of it that blocks less: EXCLUDE takes no USING INDEX.",
    ),
    LockRule(
        "validate constraint {constraint}",
        locks="family SUE; constraint_referenced RS; constraint_referenced.indexes AS; table.indexes AS",
        work="scan",
        works_on="family",
        when="is_foreign_key constraint_is_invalid",
    ),
    LockRule(
        "validate constraint {constraint}",
        locks="family SUE",
        work="scan",
        works_on="family",
        when="constraint_is_invalid",
        leaves="valid",
    ),
    LockRule("validate constraint {constraint}", locks="family SUE"),
    LockRule(
        "drop constraint [if exists] {constraint} [restrict]",
        locks="family AE; constraint_index AE; constraint_referenced AE",
    ),
    LockRule(
        "drop constraint [if exists] {constraint} cascade",
        locks="family AE; constraint_index AE; constraint_referenced AE; family.referencing AE",
    ),
    LockRule("alter constraint {constraint} ...", locks="family AE; constraint_referenced AE", is_at_most=True),
    LockRule("rename constraint {constraint} to {new}", locks="family AE; constraint_index SUE"),
    # Names, owners, places
    LockRule("rename to {new}", locks="table AE", note=_BREAKS, leaves="renamed"),
    LockRule("rename [column] {column} to {new}", locks="family AE", note=_BREAKS),
    LockRule("set schema {new}", locks="table AE; table.sequences AE", note=_BREAKS),
    LockRule(
        "owner to {role}",
        locks="table AE; table.indexes AE; table.toast AE; table.toast.indexes AE; table.sequences AE",
    ),
    LockRule(
        "set tablespace {place}",
        locks="table AE; table.toast AE; table.toast.indexes AE",
        work="rewrite",
        is_at_most=True,
    ),
    LockRule(
        "set access method {method}",
        locks="table AE; table.indexes AE; table.toast AE; table.toast.indexes AE",
        work="rewrite",
        is_at_most=True,
        since=15,
    ),
    LockRule(
        "set logged|unlogged",
        locks="table AE; table.indexes AE; table.toast AE; table.toast.indexes AE; table.sequences AE",
        work="rewrite",
        is_at_most=True,
    ),
    # Settings
    LockRule("set|reset ()", locks="table AE; table.toast AE", when="has_strong_setting", is_at_most=True),
    LockRule("set|reset ()", locks="table SUE; table.toast SUE"),
    LockRule("cluster on {index}", locks="table SUE; index SUE"),
    LockRule("set without cluster", locks="table SUE"),
    LockRule("set without oids", locks="family AE"),
    LockRule("enable|disable|force row level security", locks="table AE"),
    LockRule("no force row level security", locks="table AE"),
    LockRule("enable|disable trigger {trigger}", locks="family SRE", is_at_most=True),
    LockRule("enable|disable trigger all|user", locks="family SRE", is_at_most=True),
    LockRule("enable replica|always trigger {trigger}", locks="family SRE", is_at_most=True),
    LockRule("enable|disable rule {rule}", locks="table AE"),
    LockRule("enable replica|always rule {rule}", locks="table AE"),
    LockRule("replica identity full|nothing|default", locks="table AE"),
    LockRule("replica identity using index {index}", locks="table AE; index S"),
    # Inheritance and partitions
    LockRule("inherit {other:r}", locks="table AE; other SUE"),
    LockRule("no inherit {other:r}", locks="table AE; other AS"),
    LockRule("of {type:r}", locks="table AE; type_relation AS"),
    LockRule("not of", locks="table AE"),
    LockRule(
        "attach partition {other:r} ...",
        work="scan",
        works_on="default",
        goes_on=True,
        note="A default partition is read, for its rows may belong to the new one.",
    ),
    LockRule(
        "attach partition {other:r} ...",
        work="build",
        works_on="other",
        when="lacks_index",
        goes_on=True,
        safe="CREATE INDEX CONCURRENTLY ON {other} <columns>; -- for each index of {table} that it lacks",
    ),
    LockRule(
        "attach partition {other:r} ...",
        locks="table SUE; table.indexes SUE; other AE; other.children AE; default AE",
        work="scan",
        works_on="other",
        when="scans_attached",
        safe="ALTER TABLE {other} ADD CONSTRAINT {other}_bound CHECK (<the bounds, and NOT NULL>) NOT VALID;\n"
        "ALTER TABLE {other} VALIDATE CONSTRAINT {other}_bound;\n"
        "ALTER TABLE {table} ATTACH PARTITION {other} <bounds>;\n"
        "ALTER TABLE {other} DROP CONSTRAINT {other}_bound;",
    ),
    LockRule(
        "attach partition {other:r} ...", locks="table SUE; table.indexes SUE; other AE; other.children AE; default AE"
    ),
    LockRule(
        "detach partition {other:r} concurrently",
        locks="table SUE; other SUE",
        waits="users",
        is_alone=True,
        note="It takes AccessExclusiveLock on the partition at its end, when no transaction uses it any more.",
    ),
    LockRule("detach partition {other:r} finalize", locks="table SUE; other AE; other.indexes AE"),
    LockRule(
        "detach partition {other:r}",
        locks="table AE; other AE; other.indexes.attached AE; default AE",
        safe="ALTER TABLE {table} DETACH PARTITION {other} CONCURRENTLY; -- outside of a transaction",
    ),
)
