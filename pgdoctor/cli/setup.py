"""`pgdoctor setup`: the SQL for the least-privileged role."""

import click

_SEE = """\
-- The role that pgdoctor connects as. Run this as a superuser, once for the whole server.
-- Give it a password with \\password {role} in psql: a password in a statement ends up in logs and histories.
CREATE ROLE {role} LOGIN;

-- To see: states, statements and times of other users' sessions. Without it blocked sessions are still found,
-- but most causes stay unknown.
GRANT pg_monitor TO {role};

-- Nothing of the server's or the database's own settings may end or hinder it.
ALTER ROLE {role} SET idle_session_timeout = 0;
ALTER ROLE {role} CONNECTION LIMIT 4;
"""

_RESERVED = """
-- To get in when all connections are taken (PostgreSQL 16 or later; set reserved_connections, which needs a restart).
GRANT pg_use_reserved_connections TO {role};
"""

_ACT = """
-- To act: cancel and terminate other users' sessions; superusers' sessions stay out of reach.
-- REVOKE pg_signal_backend FROM {role}; is the emergency brake: it holds at once, for open connections too.
GRANT pg_signal_backend TO {role};
"""

_NO_ACT = """
-- To act as well, add: GRANT pg_signal_backend TO {role};  (or run: pgdoctor setup --act)
"""


@click.command()
@click.option("--role", default="pgdoctor", show_default=True, help="The name of the role.")
@click.option("--act", is_flag=True, help="Also grant what cancelling and terminating needs.")
@click.option(
    "--server-version", default=16, show_default=True, type=click.IntRange(14), help="Major version of the server."
)
def command(role: str, act: bool, server_version: int) -> None:
    """Print the SQL for the least-privileged role; nothing is sent to a server.

    Pipe it: pgdoctor setup | psql
    """
    parts = [_SEE, _RESERVED if server_version >= 16 else "", _ACT if act else _NO_ACT]
    quoted = role if role.isidentifier() and role.islower() else '"' + role.replace('"', '""') + '"'
    click.echo("".join(parts).format(role=quoted), nl=False)
