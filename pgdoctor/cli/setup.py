"""`pgdoctor setup`: the SQL for the least-privileged role."""

import itertools
import re
from pathlib import Path

import click

from pgdoctor.errors import UsageError

_SEE = """\
-- The role of pgdoctor. Run this as a superuser, or as the admin of a managed service, once for the whole server;
-- repeating it does no harm.

-- First of all: the owner of the database may have created functions and operators that hide the server's. They would
-- run with your rights.
SET search_path = pg_catalog, pg_temp;
SET standard_conforming_strings = on;

DO {body}
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = {literal}) THEN
        CREATE ROLE {role} LOGIN;
    END IF;
END
{body};
DO {body}
DECLARE
    members text;
BEGIN
    SELECT string_agg(quote_ident(r.rolname), ', ' ORDER BY r.rolname) INTO members
    FROM pg_auth_members AS m
    JOIN pg_roles AS g ON g.oid = m.roleid
    JOIN pg_roles AS r ON r.oid = m.member
    WHERE g.rolname = {literal} AND NOT r.rolsuper AND r.rolname <> CURRENT_USER;
    IF members IS NOT NULL THEN
        RAISE WARNING 'members of the role get all its rights, also that to signal: %', members;
    END IF;
END
{body};
-- The role has no password yet. Set one with \\password in psql: passwords in statements end up in logs and histories.

-- Permits reading states, statements and times of other sessions. Without it pgdoctor still finds blocked sessions,
-- but most causes stay unknown.
GRANT pg_monitor TO {role};

-- idle_session_timeout of the server must not close its connections. Ten connections are enough for all agents and
-- commands.
ALTER ROLE {role} SET idle_session_timeout = 0;
ALTER ROLE {role} CONNECTION LIMIT 10;

-- Permits connecting when all other connections are in use (PostgreSQL 16 or later, with reserved_connections set).
DO {body}
BEGIN
    IF pg_catalog.current_setting('server_version_num')::pg_catalog.int4 >= 160000 THEN
        GRANT pg_use_reserved_connections TO {role};
    END IF;
EXCEPTION
    -- The admin of a managed service is no superuser, and often may not grant this one.
    WHEN insufficient_privilege THEN
        RAISE WARNING 'pg_use_reserved_connections is not granted: pgdoctor gets no connection when all are in use';
END
{body};
"""

_ACT = """
-- Permits signals to sessions of other users, except superusers.
-- REVOKE pg_signal_backend FROM {role}; is the emergency brake: it takes effect at once, for open connections too.
GRANT pg_signal_backend TO {role};
"""

_NO_ACT = """
-- The role may only read. To permit signals: pgdoctor setup --act; or pgdoctor setup --wrapper, with functions that
-- check each signal again on the server
"""

_NO_STATS = """
-- The statistics of columns stay hidden from the role, so it cannot tell whether an index would help. To permit numbers
-- from them, and no values: pgdoctor setup --stats
"""

_END = """
RESET search_path;
RESET standard_conforming_strings;
"""

_USUAL = "pgdoctor"
_MOST_BYTES = 63
_SLOT = re.compile(r"\{(role|literal|body)\}")


def _check_name(_: click.Context, parameter: click.Parameter, role: str) -> str:
    """A name that the server takes as it is."""
    if not (role.isprintable() and 0 < len(role.encode()) <= _MOST_BYTES):
        said = f"the name of a role has one line and 1 to {_MOST_BYTES} bytes; the server truncates longer names"
        raise click.BadParameter(said, param=parameter)
    return role


@click.command()
@click.option("--role", default=_USUAL, show_default=True, callback=_check_name, help="Name of the role.")
@click.option("--act", is_flag=True, help="Also grant the right to cancel and terminate sessions.")
@click.option(
    "--wrapper",
    is_flag=True,
    help="Instead of that grant, create functions that check each signal again on the server. Run it in each database.",
)
@click.option(
    "--stats",
    is_flag=True,
    help="Also create functions that return how frequent values are, never the values. Run it in each database.",
)
def command(role: str, act: bool, wrapper: bool, stats: bool) -> None:
    """Print SQL that creates the role for pgdoctor.

    The command connects to no server. Run the SQL as a superuser: pgdoctor setup | psql
    """
    if act and wrapper:
        raise UsageError("--act and --wrapper exclude each other")
    text = _write_wrapper() if wrapper else _ACT if act else _NO_ACT
    text += _read_script("statistics.sql", "pgdoctor_statistics") if stats else _NO_STATS
    click.echo(_SLOT.sub(lambda slot: _fill_slot(slot[1], role), _SEE + text + _END), nl=False)


def _write_wrapper() -> str:
    """The functions, for what is fixed: the same that the guards and the leader lock go by."""
    from pgdoctor.mitigation.marker import MARKER
    from pgdoctor.mitigation.match import BACKUPS
    from pgdoctor.postgres.queries import load_sql
    from pgdoctor.postgres.signal import LEADER_KEY

    rights = load_sql("waiter_rights").strip().removesuffix(";").replace("%(pids)s::pg_catalog.int4[]", "waiter_pids")
    fixed = {"backups": "|".join(BACKUPS), "marker": MARKER, "leader_key": str(LEADER_KEY), "waiter_rights": rights}
    text = _read_script("wrapper.sql", "pgdoctor_signaller")
    for name, value in fixed.items():
        text = text.replace(f"{{{name}}}", value)
    return text


def _read_script(name: str, owner: str) -> str:
    """A script that creates functions of `owner`, which no other role may call but by its grants."""
    folder = Path(__file__).parent
    revoke = (folder / "default_privileges.sql").read_text(encoding="utf-8").strip().replace("{owner}", owner)
    return (folder / name).read_text(encoding="utf-8").replace("{revoke_given}", revoke)


def _fill_slot(slot: str, role: str) -> str:
    if slot == "body":
        # A name may have the end of a body in it.
        return next(tag for more in itertools.count() if (tag := f"${'x' * more}$") not in role)
    if slot == "role" and role == _USUAL:
        return role
    mark = '"' if slot == "role" else "'"
    return mark + role.replace(mark, mark * 2) + mark
