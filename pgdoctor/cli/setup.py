"""`pgdoctor setup`: the SQL for the least-privileged role."""

import click

_SEE = """\
-- The role that pgdoctor connects as. Run this as a superuser, once for the whole server; again does no harm.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = {literal}) THEN
        CREATE ROLE {role} LOGIN;
    END IF;
END
$$;
-- It has no password yet. Give it one with \\password in psql: one in a statement ends up in logs and histories.

-- To see states, statements and times of other users' sessions. Without it blocked sessions are still found, but
-- most causes stay unknown.
GRANT pg_monitor TO {role};

-- The server's own setting must not end its one connection; and it never needs more than a few.
ALTER ROLE {role} SET idle_session_timeout = 0;
ALTER ROLE {role} CONNECTION LIMIT 4;

-- To get in when all other connections are taken (PostgreSQL 16 or later, with reserved_connections set).
DO $$
BEGIN
    IF pg_catalog.current_setting('server_version_num')::int >= 160000 THEN
        GRANT pg_use_reserved_connections TO {role};
    END IF;
END
$$;
"""

_ACT = """
-- To act: cancel and terminate other users' sessions; superusers' sessions stay out of reach.
-- REVOKE pg_signal_backend FROM {role}; is the emergency brake: it holds at once, for open connections too.
GRANT pg_signal_backend TO {role};
"""

_NO_ACT = """
-- It may look, and no more. To let it cancel and terminate: pgdoctor setup --act
"""


@click.command()
@click.option("--role", default="pgdoctor", show_default=True, help="The name of the role.")
@click.option("--act", is_flag=True, help="Also grant what cancelling and terminating needs.")
def command(role: str, act: bool) -> None:
    """Print the SQL for the least-privileged role; nothing is sent to a server.

    Pipe it: pgdoctor setup | psql
    """
    text = _SEE + (_ACT if act else _NO_ACT)
    click.echo(text.format(role=_quoted(role, '"'), literal=_quoted(role, "'")), nl=False)


def _quoted(name: str, mark: str) -> str:
    """A name as an identifier or a literal; plain where it needs no quotes."""
    if mark == '"' and name.isascii() and name.isidentifier() and name.islower():
        return name
    return mark + name.replace(mark, mark * 2) + mark
