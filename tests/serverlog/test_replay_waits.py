"""Replay on a real standby that waits for a session, with log_recovery_conflict_waits."""

from collections.abc import Callable

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from pgdoctor.demo.throwaway_server import ThrowawayServer
from tests.scenes.client import wait_until
from tests.serverlog.logged import read_incidents, tail_of
from tests.standby import standby_of

_SETTINGS = {
    "log_recovery_conflict_waits": "on",
    "deadlock_timeout": "200ms",
    "max_standby_streaming_delay": -1,
    "log_line_prefix": "%m [%p] %q%u@%d/%a ",
}


@pytest.mark.long
@pytest.mark.deadline(180)
@pytest.mark.parametrize(
    ("change", "isolation", "target"),
    [
        ("alter table orders add column c int", "read committed", "relation "),
        ("delete from orders; vacuum orders", "repeatable read", "recovery conflict on snapshot"),
    ],
    ids=["lock", "snapshot"],
)
def test_wait_of_replay_names_the_session_in_its_way(
    own_server: Callable[..., ThrowawayServer], change: str, isolation: str, target: str
) -> None:
    primary = own_server(settings={"wal_level": "replica", "max_wal_senders": 4})
    with psycopg.connect(primary.dsn, autocommit=True) as admin, standby_of(primary) as standby:
        admin.execute("create table orders (id int); insert into orders select generate_series(1, 100)")
        with psycopg.connect(make_conninfo(primary.dsn, port=standby.port), autocommit=True) as reader:
            wait_until(lambda: reader.execute("select to_regclass('orders')").fetchone()[0], timeout=30)
            wait_until(lambda: reader.execute("select count(*) from orders").fetchone()[0] == 100, timeout=30)
            for name, value in _SETTINGS.items():
                reader.execute(f"alter system set {name} = '{value}'")
            reader.execute("select pg_reload_conf()")
            wait_until(lambda: reader.execute("show log_recovery_conflict_waits").fetchone() == ("on",), timeout=30)
            tail = tail_of(standby)
            reader.execute(f"begin isolation level {isolation}")
            reader.execute("select count(*) from orders")
            for statement in change.split("; "):
                admin.execute(statement)
            wait_until(lambda: b"recovery still waiting after" in tail.read(), timeout=60)
            reader.execute("commit")
            wait_until(lambda: b"recovery finished waiting after" in tail.read(), timeout=60)
            pid = reader.info.backend_pid
        [found] = read_incidents(tail.read())
    [wait] = found.incident.worst.waits
    assert wait.target.startswith(target)
    assert wait.holders == (pid,)
    assert wait.origin.backend_type == "startup"
    assert found.leading.pid == pid
    assert found.incident.outcomes == {"acquired": 1}
    assert found.incident.longest >= 0.2
