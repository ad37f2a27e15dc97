"""Through a real PgBouncer: see `tests.pooler`."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.agent.test_mitigation import agent, hold, orders, refused, rules  # noqa: F401
from tests.pooler import PROGRAM, pooler
from tests.scenes import Scene

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(PROGRAM is None, reason="no pgbouncer here: set PGDOCTOR_TEST_PGBOUNCER to one"),
]


@pytest.fixture(params=["transaction", "session"])
def pgbouncer(scene: Scene, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """A DSN through it."""
    with pooler(scene.dsn, tmp_path, request.param) as dsn:
        yield dsn


@pytest.mark.usefixtures("orders")
def test_h23_behind_pgbouncer_no_session_is_signalled(scene, agent, pgbouncer):  # noqa: F811
    watching = agent(pgbouncer, more=rules())
    holder, _ = hold(scene)
    watching.wait_for(refused("pooled"), 1)
    watching.wait_for_polls(5)
    assert holder.run("select 1") == [(1,)]
    # The lock would stay with a connection of the pool, and keep every direct agent from leadership.
    assert watching.metric("leader") == 0
    held = "select count(*) from pg_locks where locktype = 'advisory'"
    assert scene.admin.execute(held).fetchone() == (0,)


def test_session_settings_do_not_leak_through_a_pooler(scene, agent, pgbouncer):  # noqa: F811
    watching = agent(pgbouncer)
    watching.wait_for("up", 1)
    watching.wait_for_polls(5)
    assert "connected through a pooler" in str(watching.lines)
    names = ("default_transaction_read_only", "search_path", "statement_timeout", "lock_timeout", "TimeZone")
    asked = ", ".join(f"current_setting('{name}')" for name in names)
    prepared = "(select count(*) from pg_prepared_statements)"
    with psycopg.connect(scene.dsn) as direct, psycopg.connect(pgbouncer) as application:
        found = [each.execute(f"select {asked}, {prepared}").fetchone() for each in (direct, application)]
    assert found[0] == found[1]
