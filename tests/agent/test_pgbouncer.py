"""Through a real PgBouncer, which has to be there: `PGDOCTOR_TEST_PGBOUNCER=/usr/sbin/pgbouncer`, or on the PATH."""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.agent.test_agent_mitigation import agent, hold, orders, refused, rules  # noqa: F401
from tests.scenes import Scene
from tests.scenes.client import wait_until

PROGRAM = os.environ.get("PGDOCTOR_TEST_PGBOUNCER") or shutil.which("pgbouncer")

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(PROGRAM is None, reason="no pgbouncer here: set PGDOCTOR_TEST_PGBOUNCER to one"),
]


@pytest.fixture(params=["transaction", "session"])
def pgbouncer(scene: Scene, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """A DSN through it."""
    assert PROGRAM is not None
    given = conninfo_to_dict(scene.dsn)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (tmp_path / "users").write_text(f'"{given["user"]}" "{given["password"]}"\n')
    (tmp_path / "pgbouncer.ini").write_text(
        f"""
        [databases]
        * = host={given["host"]} port={given["port"]}
        [pgbouncer]
        listen_addr = 127.0.0.1
        listen_port = {port}
        unix_socket_dir =
        auth_type = plain
        auth_file = {tmp_path}/users
        pool_mode = {request.param}
        """.replace("        ", "")
    )
    for path in (tmp_path, tmp_path / "users", tmp_path / "pgbouncer.ini"):
        path.chmod(0o755)
    # It does not run as root.
    account = ["-u", "nobody"] if os.geteuid() == 0 else []
    process = subprocess.Popen(
        [PROGRAM, *account, str(tmp_path / "pgbouncer.ini")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    dsn = make_conninfo(scene.dsn, host="127.0.0.1", port=port, sslmode="disable", gssencmode="disable")

    def answers() -> bool:
        try:
            with psycopg.connect(dsn, autocommit=True):
                return True
        except psycopg.OperationalError:
            assert process.poll() is None, "pgbouncer has ended"
            return False

    try:
        wait_until(answers, 10, "pgbouncer answers")
        yield dsn
    finally:
        process.terminate()
        process.wait(10)


@pytest.mark.usefixtures("orders")
def test_h23_behind_pgbouncer_nobody_is_signalled(scene, agent, pgbouncer):  # noqa: F811
    watching = agent(pgbouncer, more=rules())
    holder, _ = hold(scene)
    watching.wait_for(refused("pooled"), 1)
    watching.wait_for_polls(5)
    assert holder.run("select 1") == [(1,)]
    # The lock would stay with a connection of the pool, and keep everybody from leading who comes directly.
    assert watching.metric("leader") == 0
    held = "select count(*) from pg_locks where locktype = 'advisory'"
    assert scene.admin.execute(held).fetchone() == (0,)


def test_what_it_does_to_its_session_is_left_to_nobody(scene, agent, pgbouncer):  # noqa: F811
    watching = agent(pgbouncer)
    watching.wait_for("up", 1)
    watching.wait_for_polls(5)
    assert "a pooler stands in between" in str(watching.lines)
    names = ("default_transaction_read_only", "search_path", "statement_timeout", "lock_timeout", "TimeZone")
    asked = ", ".join(f"current_setting('{name}')" for name in names)
    prepared = "(select count(*) from pg_prepared_statements)"
    with psycopg.connect(scene.dsn) as direct, psycopg.connect(pgbouncer) as application:
        found = [each.execute(f"select {asked}, {prepared}").fetchone() for each in (direct, application)]
    assert found[0] == found[1]
