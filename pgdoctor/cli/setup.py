"""`pgdoctor setup`: the SQL for the least-privileged role."""

import itertools
import re
from pathlib import Path

import click

from pgdoctor.errors import UsageError

_SEE = """\
-- The role that pgdoctor connects as. Run this as a superuser, once for the whole server; again does no harm.

-- First, and before any other statement: the owner of the database may have put functions and operators of his before
-- the server's, and they would run with your rights.
SET search_path = pg_catalog, pg_temp;
SET standard_conforming_strings = on;

DO {body}
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = {literal}) THEN
        CREATE ROLE {role} LOGIN;
    END IF;
END
{body};
-- It has no password yet. Give it one with \\password in psql: one in a statement ends up in logs and histories.

-- To see states, statements and times of other users' sessions. Without it blocked sessions are still found, but
-- most causes stay unknown.
GRANT pg_monitor TO {role};

-- The server's own setting must not end its connections. Agents, commands and exporters need no more than ten.
ALTER ROLE {role} SET idle_session_timeout = 0;
ALTER ROLE {role} CONNECTION LIMIT 10;

-- To get in when all other connections are taken (PostgreSQL 16 or later, with reserved_connections set).
DO {body}
BEGIN
    IF pg_catalog.current_setting('server_version_num')::pg_catalog.int4 >= 160000 THEN
        GRANT pg_use_reserved_connections TO {role};
    END IF;
END
{body};
"""

_ACT = """
-- To act: cancel and terminate other users' sessions; superusers' sessions stay out of reach.
-- REVOKE pg_signal_backend FROM {role}; is the emergency brake: it holds at once, for open connections too.
GRANT pg_signal_backend TO {role};
"""

_NO_ACT = """
-- It may look, and no more. To let it cancel and terminate: pgdoctor setup --act, or, through functions that check
-- again on the server, pgdoctor setup --wrapper
"""


_END = """
RESET search_path;
RESET standard_conforming_strings;
"""

_USUAL = "pgdoctor"
_MOST_BYTES = 63
_SLOT = re.compile(r"\{(role|literal|body)\}")


def _named(_: click.Context, parameter: click.Parameter, role: str) -> str:
    """A name that the server takes as it is."""
    if not (role.isprintable() and 0 < len(role.encode()) <= _MOST_BYTES):
        said = f"a role's name is on one line and has 1 to {_MOST_BYTES} bytes; the server cuts a longer one"
        raise click.BadParameter(said, param=parameter)
    return role


@click.command()
@click.option("--role", default=_USUAL, show_default=True, callback=_named, help="Name of the role.")
@click.option("--act", is_flag=True, help="Also grant the right to cancel and terminate sessions.")
@click.option(
    "--wrapper",
    is_flag=True,
    help="Instead of that grant, create functions that check each signal again on the server. Run it in each database.",
)
def command(role: str, act: bool, wrapper: bool) -> None:
    """Print SQL that creates the role for pgdoctor.

    The command connects to no server. Run the SQL as a superuser: pgdoctor setup | psql
    """
    if act and wrapper:
        raise UsageError("--act grants what --wrapper makes needless: give one of them")
    text = _wrapper() if wrapper else _ACT if act else _NO_ACT
    click.echo(_SLOT.sub(lambda slot: _filled(slot[1], role), _SEE + text + _END), nl=False)


def _wrapper() -> str:
    """The functions, for what is fixed: the same that the guards and the leader lock go by."""
    from pgdoctor.mitigation.marker import MARKER
    from pgdoctor.mitigation.match import BACKUPS
    from pgdoctor.postgres.queries import load
    from pgdoctor.postgres.signal import LEADER_KEY

    rights = load("waiter_rights").strip().removesuffix(";").replace("%(pids)s::pg_catalog.int4[]", "waiter_pids")
    fixed = {"backups": "|".join(BACKUPS), "marker": MARKER, "leader_key": str(LEADER_KEY), "waiter_rights": rights}
    text = (Path(__file__).parent / "wrapper.sql").read_text(encoding="utf-8")
    for name, value in fixed.items():
        text = text.replace(f"{{{name}}}", value)
    return text


def _filled(slot: str, role: str) -> str:
    if slot == "body":
        # A name may have the end of a body in it.
        return next(tag for more in itertools.count() if (tag := f"${'x' * more}$") not in role)
    if slot == "role" and role == _USUAL:
        return role
    mark = '"' if slot == "role" else "'"
    return mark + role.replace(mark, mark * 2) + mark
