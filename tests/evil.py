"""A database whose owner has put objects of his own before those of the server, for every session that connects to it.

Each of them says in the server's log that it was called, and by whom, and then fails.
"""

import re
from pathlib import Path

from pgdoctor.demo.throwaway_server import ThrowawayServer
from tests.scenes import Scene

ROOT = Path(__file__).resolve().parents[1]

#: Every word that stands in a text that is sent, or printed to be sent.
_WORDS = sorted(
    {
        word
        for pattern in ("sql/**/*.sql", "pgdoctor/postgres/*.py", "pgdoctor/cli/*.sql", "pgdoctor/cli/setup.py")
        for file in ROOT.glob(pattern)
        for word in re.findall(r"[a-z_][a-z0-9_]+", file.read_text(encoding="utf-8"))
    }
)

_NOTE = """
    create schema evil;
    grant usage on schema evil to public;
    create function evil.note(what text) returns bool language plpgsql as $$
        begin raise log 'DECOY % as %', what, current_user; return true; end $$;
"""

#: Objects that the server does not let a user create again are left out.
_PLANT = r"""
do $plant$
declare
    each record;
    body pg_catalog.text := 'begin perform evil.note(%L); raise ''a decoy was called''; end';
begin
    perform pg_catalog.set_config('check_function_bodies', 'off', true);
    -- Views, before anything else of a schema that comes first is found.
    for each in
        select c.relname as name from pg_catalog.pg_class c
        where c.relnamespace = 'pg_catalog'::regnamespace and c.relkind in ('r', 'v') and c.relname = any (%(words)s)
    loop begin
        execute format('create view evil.%%I as select * from pg_catalog.%%I where evil.note(%%L)',
            each.name, each.name, 'view ' || each.name);
        execute format('grant select on evil.%%I to public', each.name);
    exception when others then null; end; end loop;
    for each in
        select p.proname as name, pg_catalog.pg_get_function_arguments(p.oid) as arguments,
            pg_catalog.pg_get_function_result(p.oid) as result
        from pg_catalog.pg_proc p
        where p.pronamespace = 'pg_catalog'::regnamespace and p.prokind = 'f' and p.proname = any (%(words)s)
    loop begin
        execute format('create function evil.%%I(%%s) returns %%s language plpgsql as %%L',
            each.name, each.arguments, each.result, format(body, 'function ' || each.name));
    exception when others then null; end; end loop;
    for each in
        select p.proname as name, p.oid, pg_catalog.pg_get_function_identity_arguments(p.oid) as arguments
        from pg_catalog.pg_proc p
        where p.pronamespace = 'pg_catalog'::regnamespace and p.prokind = 'a' and p.proname = any (%(words)s)
            and p.pronargs < 2
    loop begin
        execute format('create function evil.step_%%s(bool %%s) returns bool language plpgsql as %%L',
            each.oid, case each.arguments when '' then '' else ', ' || each.arguments end,
            format(body, 'aggregate ' || each.name));
        execute format('create aggregate evil.%%I(%%s) (sfunc = evil.step_%%s, stype = bool)',
            each.name, case each.arguments when '' then '*' else each.arguments end, each.oid);
    exception when others then null; end; end loop;
    for each in
        select o.oid, o.oprname as name, o.oprleft::regtype as l, o.oprright::regtype as r,
            o.oprresult::regtype as result, o.oprleft = 0 as is_prefix
        from pg_catalog.pg_operator o
        where o.oprnamespace = 'pg_catalog'::regnamespace
    loop begin
        execute format('create function evil.operator_%%s(%%s) returns %%s language plpgsql as %%L',
            each.oid, case when each.is_prefix then each.r::text else each.l || ', ' || each.r end, each.result,
            format(body, format('operator %%s(%%s,%%s)', each.name, each.l, each.r)));
        execute format('create operator evil.%%s (%%s rightarg = %%s, function = evil.operator_%%s)',
            each.name, case when each.is_prefix then '' else 'leftarg = ' || each.l || ',' end, each.r, each.oid);
    exception when others then null; end; end loop;
    -- The exact operators that would be preferred to those that need a cast.
    for each in
        select name, l, r from unnest(array['=', '<>', '<', '>', '<=', '>=']) as name,
            unnest(array['int2', 'int4', 'int8', 'oid', 'text', 'name', 'unknown', '"char"']::regtype[]) as l,
            unnest(array['int2', 'int4', 'int8', 'oid', 'text', 'name', 'unknown', '"char"']::regtype[]) as r
        where l <> r
    loop begin
        execute format('create or replace function evil.operator_extra(%%s, %%s) returns bool language plpgsql as %%L',
            each.l, each.r, format(body, format('operator (%%s,%%s)', each.l, each.r)));
        execute format('create operator evil.%%s (leftarg = %%s, rightarg = %%s, function = evil.operator_extra)',
            each.name, each.l, each.r);
    exception when others then null; end; end loop;
    for each in
        select t.typname as name, t.oid from pg_catalog.pg_type t
        where t.typnamespace = 'pg_catalog'::regnamespace and t.typtype = 'b' and t.typname = any (%(words)s)
    loop begin
        execute format('create domain evil.%%I as pg_catalog.%%I check (evil.note(%%L))',
            each.name, each.name, 'domain ' || each.name);
    exception when others then null; end; end loop;
end
$plant$
"""

_COUNT = """
    select
        (select count(*) from pg_catalog.pg_operator where oprnamespace = 'evil'::regnamespace),
        (select count(*) from pg_catalog.pg_proc where pronamespace = 'evil'::regnamespace and prokind = 'f'
            and proname not like 'operator%%' and proname not like 'step%%'),
        (select count(*) from pg_catalog.pg_proc where pronamespace = 'evil'::regnamespace and prokind = 'a'),
        (select count(*) from pg_catalog.pg_class where relnamespace = 'evil'::regnamespace and relkind = 'v'),
        (select count(*) from pg_catalog.pg_type where typnamespace = 'evil'::regnamespace and typtype = 'd')
"""

#: What an owner may hand to sessions beside the path: each of them fails where it is not pinned.
HOSTILE = {
    "search_path": "evil, pg_catalog",
    "transform_null_equals": "on",
    "quote_all_identifiers": "on",
    "standard_conforming_strings": "off",
    "row_security": "on",
    '"DateStyle"': "'SQL, DMY'",
    '"IntervalStyle"': "sql_standard",
    "bytea_output": "escape",
    "extra_float_digits": "'-15'",
    "array_nulls": "off",
    '"TimeZone"': "'Pacific/Kiritimati'",
    "statement_timeout": "'1ms'",
    "lock_timeout": "'1ms'",
    "idle_in_transaction_session_timeout": "'1ms'",
    "default_transaction_isolation": "serializable",
    "default_transaction_deferrable": "on",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_sort": "off",
    "join_collapse_limit": "1",
    "work_mem": "64",
    "debug_print_plan": "on",
    "exit_on_error": "on",
    "client_min_messages": "debug1",
}


class Decoys:
    """Plants them in the scene's database; `called` says which were called since."""

    def __init__(self, scene: Scene, server: ThrowawayServer) -> None:
        self._scene, self._server = scene, server
        scene.admin.execute("set search_path = pg_catalog, pg_temp")
        scene.admin.execute(_NOTE)
        words = "array[" + ", ".join(f"'{word}'" for word in _WORDS) + "]::pg_catalog.text[]"
        scene.admin.execute(_PLANT.replace("%(words)s", words).replace("%%", "%").encode())
        [self.planted] = scene.admin.execute(_COUNT).fetchall()
        self._begin = server.log.stat().st_size

    def hand_over(self, whom: str, settings: dict[str, str] | None = None) -> None:
        """ALTER `whom` (as `database x` or `role x in database y`) SET, for every hostile setting."""
        for name, value in (settings or HOSTILE).items():
            self._scene.admin.execute(f"alter {whom} set {name} = {value}".encode())

    def called(self) -> list[str]:
        """The distinct calls in the server's log since they were planted."""
        with self._server.log.open("rb") as log:
            log.seek(self._begin)
            text = log.read().decode(errors="replace")
        return sorted(set(re.findall(r"DECOY (.*)", text)))
