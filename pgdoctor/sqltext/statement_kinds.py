"""Kinds of statements: what they are called, how they begin, and what they are about.

Source: PostgreSQL documentation, "SQL Commands" of 12 to 18, and REPACK of the development version; the commands
of walsenders are from "Streaming Replication Protocol".
"""

from typing import NamedTuple

from pgdoctor.sqltext.lexer import word_set

#: What a statement does, the most telling first: of several statements in one string, the first of the
#: strongest family speaks for the string.
FAMILIES = (
    "lock",  # LOCK TABLE
    "ddl",  # changes the schema
    "maintenance",  # VACUUM and its kin, by hand
    "write",  # changes rows
    "wrapper",  # may do any of the above, its text does not say what
    "row_lock",  # SELECT ... FOR UPDATE
    "read",
    "session",  # transactions, settings, cursors
    "unknown",
)


class StatementForm(NamedTuple):
    """One kind of statement. `target` says where its relations stand:

    `next`: right after the leading words; `on`, `from`, `to`: after that word; `on?`: after ON or else as `next`;
    `column`: as `next`, with a column as the last part; `source`: in the FROM list; `-`: nowhere.
    """

    kind: str
    family: str
    target: str


UNKNOWN = StatementForm("unknown", "unknown", "-")

# Leading words, kind, family, target. The longest match counts; noise such as IF EXISTS is passed over.
_TABLE = """
select                          select                    read         source
table                           select                    read         next
values                          values                    read         -
insert                          insert                    write        next
update                          update                    write        next
delete from                     delete                    write        next
delete                          delete                    write        -
merge                           merge                     write        next
copy                            copy                      wrapper      next
copy binary                     copy                      wrapper      next

lock                            lock                      lock         next
lock table                      lock                      lock         next

truncate                        truncate                  ddl          next
truncate table                  truncate                  ddl          next
create                          create_other              ddl          -
create table                    create_table              ddl          next
create foreign table            create_table              ddl          next
create index                    create_index              ddl          on
create view                     create_view               ddl          next
create materialized view        create_materialized_view  ddl          next
create trigger                  create_trigger            ddl          on
create event trigger            create_other              ddl          -
create rule                     create_other              ddl          to
create policy                   create_other              ddl          on
create statistics               create_other              ddl          from
create sequence                 create_other              ddl          next
alter                           alter_other               ddl          -
alter table                     alter_table               ddl          next
alter table all                 alter_table               ddl          -
alter foreign table             alter_table               ddl          next
alter index                     alter_index               ddl          next
alter index all                 alter_index               ddl          -
alter view                      alter_other               ddl          next
alter materialized view         alter_other               ddl          next
alter materialized view all     alter_other               ddl          -
alter sequence                  alter_other               ddl          next
alter trigger                   alter_other               ddl          on
alter event trigger             alter_other               ddl          -
alter rule                      alter_other               ddl          on
alter policy                    alter_other               ddl          on
drop                            drop_other                ddl          -
drop table                      drop_table                ddl          next
drop foreign table              drop_table                ddl          next
drop index                      drop_index                ddl          next
drop view                       drop_other                ddl          next
drop materialized view          drop_other                ddl          next
drop sequence                   drop_other                ddl          next
drop trigger                    drop_other                ddl          on
drop event trigger              drop_other                ddl          -
drop rule                       drop_other                ddl          on
drop policy                     drop_other                ddl          on
comment                         comment                   ddl          -
comment on table                comment                   ddl          next
comment on foreign table        comment                   ddl          next
comment on index                comment                   ddl          next
comment on view                 comment                   ddl          next
comment on materialized view    comment                   ddl          next
comment on sequence             comment                   ddl          next
comment on column               comment                   ddl          column
comment on constraint           comment                   ddl          on
comment on trigger              comment                   ddl          on
comment on rule                 comment                   ddl          on
comment on policy               comment                   ddl          on
security label                  security_label            ddl          -
grant                           grant                     ddl          -
revoke                          revoke                    ddl          -
reassign                        alter_other               ddl          -
import                          create_other              ddl          -

vacuum                          vacuum                    maintenance  next
analyze                         analyze                   maintenance  next
analyse                         analyze                   maintenance  next
reindex                         reindex                   maintenance  -
reindex table                   reindex                   maintenance  next
reindex index                   reindex                   maintenance  next
reindex schema                  reindex                   maintenance  -
reindex database                reindex                   maintenance  -
reindex system                  reindex                   maintenance  -
cluster                         cluster                   maintenance  on?
repack                          repack                    maintenance  next
refresh                         refresh                   maintenance  -
refresh materialized view       refresh                   maintenance  next

do                              do                        wrapper      -
call                            call                      wrapper      -
execute                         execute                   wrapper      -

begin                           begin                     session      -
start transaction               begin                     session      -
commit                          commit                    session      -
end                             commit                    session      -
commit prepared                 commit_prepared           session      -
rollback                        rollback                  session      -
abort                           rollback                  session      -
rollback prepared               rollback_prepared         session      -
rollback to                     rollback_to_savepoint     session      -
rollback work to                rollback_to_savepoint     session      -
rollback transaction to         rollback_to_savepoint     session      -
savepoint                       savepoint                 session      -
release                         release_savepoint         session      -
prepare transaction             prepare_transaction       session      -
prepare                         prepare                   session      -
deallocate                      deallocate                session      -
explain                         explain                   session      -
declare                         declare                   session      -
fetch                           fetch                     session      -
move                            fetch                     session      -
close                           close                     session      -
set                             set                       session      -
reset                           reset                     session      -
show                            show                      session      -
discard                         discard                   session      -
listen                          listen                    session      -
unlisten                        unlisten                  session      -
notify                          notify                    session      -
load                            load                      session      -
checkpoint                      checkpoint                session      -
wait                            wait                      session      -
identify_system                 replication               session      -
start_replication               replication               session      -
base_backup                     replication               session      -
timeline_history                replication               session      -
upload_manifest                 replication               session      -
create_replication_slot         replication               session      -
read_replication_slot           replication               session      -
alter_replication_slot          replication               session      -
drop_replication_slot           replication               session      -
"""


def _read_forms() -> dict[tuple[str, ...], StatementForm]:
    rows = (line.split() for line in _TABLE.splitlines() if line)
    return {tuple(leading): StatementForm(kind, family, target) for *leading, kind, family, target in rows}


FORMS = _read_forms()

#: Every beginning of the leading words of a form.
PREFIXES = frozenset(leading[:length] for leading in FORMS for length in range(len(leading) + 1))

#: Words that may begin a statement; WITH and the autovacuum worker's label are skipped.
VERBS = frozenset(leading[0] for leading in FORMS) | {"with", "autovacuum"}

#: Words between CREATE and what it creates.
CREATE_NOISE = word_set(
    "or replace temp temporary global local unlogged unique recursive constraint trusted procedural default"
)

#: Words between the leading words and the name.
NOISE = word_set("if not exists concurrently into only full freeze verbose analyze analyse")

#: Commands whose options may stand in parentheses before the name.
TAKES_OPTIONS = word_set("vacuum analyze analyse reindex cluster repack")

#: Kinds that a word among the noise or the options turns into others of the same family.
VARIANTS = {
    ("create_index", "concurrently"): "create_index_concurrently",
    ("drop_index", "concurrently"): "drop_index_concurrently",
    ("reindex", "concurrently"): "reindex_concurrently",
    ("refresh", "concurrently"): "refresh_concurrently",
    ("repack", "concurrently"): "repack_concurrently",
    ("vacuum", "full"): "vacuum_full",
}

# Kinds that depend on the rest of the statement.
CREATE_TABLE_AS = StatementForm("create_table_as", "ddl", "next")
SELECT_FOR_UPDATE = StatementForm("select_for_update", "row_lock", "source")
COPY_FROM = StatementForm("copy_from", "write", "next")
COPY_TO = StatementForm("copy_to", "read", "next")

_ALL = (*FORMS.values(), CREATE_TABLE_AS, SELECT_FOR_UPDATE, COPY_FROM, COPY_TO, UNKNOWN)

#: The family of each kind.
FAMILY_OF = {form.kind: form.family for form in _ALL} | {
    variant: next(form.family for form in _ALL if form.kind == kind) for (kind, _), variant in VARIANTS.items()
}

#: The closed vocabulary.
KINDS = frozenset(FAMILY_OF)

DDL = frozenset(kind for kind, family in FAMILY_OF.items() if family == "ddl")
#: Of what they name they lock only what they create; the tables that they read or reference they lock as others do.
CREATING = frozenset({"create_table", "create_table_as", "create_materialized_view", "create_view"})
MAINTENANCE = frozenset(kind for kind, family in FAMILY_OF.items() if family == "maintenance")
SESSION = frozenset(kind for kind, family in FAMILY_OF.items() if family == "session")
WRAPPERS = frozenset({"do", "call", "execute"})
LOCK_TABLE = frozenset(kind for kind, family in FAMILY_OF.items() if family == "lock")
ENDS_TRANSACTION = frozenset({"commit", "rollback", "prepare_transaction"})


def kind_rank(kind: str) -> int:
    """How telling a kind is: 0 the most."""
    return FAMILIES.index(FAMILY_OF[kind])
