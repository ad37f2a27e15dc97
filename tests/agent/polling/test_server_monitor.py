"""Several servers in one agent: each has its own of everything, and fails alone. And connection strings in files."""

import asyncio
import signal
import socket
import threading
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from pgdoctor.agent.polling.reconnector import DsnFile
from pgdoctor.agent.polling.server_monitor import MonitoredServer, ServerMonitors
from pgdoctor.config.config import AgentSettings
from pgdoctor.journal.keeper import Keeper
from pgdoctor.mitigation.rules import Duration, Mitigation
from pgdoctor.notify.notifier import Notifier
from tests.agent.polling.test_outage import stopped
from tests.agent.test_process import refuses, start
from tests.scenes.client import wait_until

#: All of it together takes many seconds.
pytestmark = pytest.mark.long

DEAD = '[[servers]]\nname = "dead"\ndsn = "host=127.0.0.1 port=1"\n'


@pytest.fixture
def reach(tmp_path: Path):
    """A server of the configuration, by a file that its DSN is written into."""

    def entry(name: str, dsn: str, more: str = "") -> str:
        file = tmp_path / f"{name}.dsn"
        file.write_text(dsn + "\n")
        return f'[[servers]]\nname = "{name}"\ndsn_file = "{file}"\n{more}'

    return entry


def test_each_server_speaks_for_itself(scene, agent, reach):
    other = make_conninfo(scene.dsn, dbname=scene.database())
    watching = agent(None, more=reach("shop", scene.dsn) + reach("ledger", other) + DEAD)
    for name, up in {"shop": 1, "ledger": 1, "dead": 0}.items():
        watching.wait_for(f'up{{server="{name}"}}', up)
    watching.wait_for('connection_state{server="dead",state="refused"}', 1)
    scene.admin.execute("create table t ()")
    scene.client("lock table t")
    scene.client().block("select from t")
    # The two databases are of one server, whose waits both see.
    watching.wait_for('blocked_sessions{server="shop"}', 1)
    assert watching.metric('blocked_sessions{server="dead"}') == 0

    unnamed = watching.get("/diagnosis")
    assert unnamed.status_code == 400
    assert unnamed.json()["error"].endswith("one of shop, ledger, dead")
    assert watching.get("/diagnosis?server=nowhere").status_code == 404
    assert watching.get("/diagnosis?server=dead").status_code == 503
    found = watching.get("/diagnosis?server=shop").json()
    assert found["server"]["database"] == conninfo_to_dict(scene.dsn)["dbname"]

    page = watching.get("/").text
    assert "3 servers, 1 DOWN" in page
    assert page.index('href="?server=dead"') < page.index('href="?server=shop"')
    assert "idle_in_transaction" in page
    one = watching.get("/?server=shop").text
    assert "<h1><bdi>shop: 1 session blocked" in one
    assert watching.get("/?server=nowhere").status_code == 404

    deep = watching.get("/health/deep")
    components = deep.json()["components"]
    assert (deep.status_code, deep.json()["status"]) == (503, "DOWN")
    assert {name: each["status"] for name, each in components.items()} == {
        "database": "DOWN",
        "shop": "UP",
        "ledger": "UP",
        "dead": "DOWN",
    }
    lines = watching.wait_for_lines("connected", 2)
    assert {line["server"] for line in lines if line["event"] == "connected"} == {"shop", "ledger"}
    failed = [line for line in lines if line["event"] == "server cannot be polled"]
    assert {line["server"] for line in failed} == {"dead"}


def test_one_that_hangs_holds_up_no_other(scene, own_server, agent, reach):
    hanging = own_server(max_connections=20)
    watching = agent(None, deadline="30s", more=reach("shop", scene.dsn) + reach("hanging", hanging.dsn))
    watching.wait_for('up{server="hanging"}', 1)
    with stopped(hanging):
        watching.wait_for('up{server="hanging"}', 0)
        polls = watching.metric('poll_duration_seconds_count{server="shop"}')
        wait_until(lambda: watching.metric('poll_duration_seconds_count{server="shop"}') > polls + 5)
        watching.wait_for('up{server="shop"}', 1)
    watching.wait_for('up{server="hanging"}', 1)


def test_names_that_no_resolver_answers_for_hold_up_no_other(scene, monkeypatch, tmp_path):
    released, real = threading.Event(), socket.getaddrinfo

    def lookup(host, *arguments, **more):
        if str(host).startswith("hanging"):
            released.wait(20)
        return real(host, *arguments, **more)

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    settings = AgentSettings(interval=Duration(0.1), deadline=Duration(0.5))
    hanging = [MonitoredServer(f"hanging{number}", f"host=hanging{number} dbname=x", settings) for number in range(8)]

    async def watch() -> None:
        # As many threads as the agent has.
        from pgdoctor.agent.process import spread_out

        spread_out(asyncio.get_running_loop())
        wanted = [*hanging, MonitoredServer("shop", f"{scene.dsn} host=localhost", settings)]
        watchers = ServerMonitors(wanted, Mitigation(), Keeper(tmp_path / "journal.db"), Notifier(()))
        watchers.start(lambda: None)
        async with asyncio.timeout(15):
            while not all(watcher.poller.state.connection for watcher in watchers):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            assert watchers.find_monitor("hanging0").poller.state.connection == "timeout"
            polled = watchers.find_monitor("shop").poller
            seen: set[float | None] = set()
            while len(seen) <= 5:
                seen.add(polled.state.last_success)
                await asyncio.sleep(0.05)
        assert polled.state.up
        await watchers.stop(1.0)
        released.set()

    asyncio.run(watch())


def test_servers_come_and_go_with_a_reload(scene, agent, reach):
    first = reach("shop", scene.dsn)
    watching = agent(None, more=first + DEAD)
    watching.wait_for('up{server="shop"}', 1)
    polls = watching.metric('poll_duration_seconds_count{server="shop"}')
    other = make_conninfo(scene.dsn, dbname=scene.database())

    settings = '[agent]\ninterval = "200ms"\nmax_server_share = 1\n'
    watching.configure(settings + first + reach("ledger", other, 'interval = "100ms"\n'))
    watching.send(signal.SIGHUP)
    wait_until(lambda: 'pgdoctor_up{server="ledger"}' in watching.metrics())
    watching.wait_for('up{server="ledger"}', 1)
    assert 'pgdoctor_up{server="dead"}' not in watching.metrics()
    # Who stays keeps what was counted, and the connection.
    assert watching.metric('poll_duration_seconds_count{server="shop"}') >= polls
    told = [line["server"] for line in watching.wait_for_lines("connected", 2) if line["event"] == "connected"]
    assert told == ["shop", "ledger"]

    # The way to one changes.
    watching.configure(settings + '[[servers]]\nname = "shop"\ndsn = "host=127.0.0.1 port=1"\n')
    watching.send(signal.SIGHUP)
    watching.wait_for('up{server="shop"}', 0)
    assert watching.get("/diagnosis").status_code == 503
    watching.wait_for('connection_state{server="shop",state="refused"}', 1)
    wait_until(
        lambda: not scene.admin.execute("select 1 from pg_stat_activity where application_name = 'pgdoctor'").fetchall()
    )


def test_servers_and_a_dsn_do_not_go_together(tmp_path):
    config = tmp_path / "pgdoctor.toml"
    config.write_text(DEAD)
    refuses(start("--dsn", "host=127.0.0.1 port=1", "--config", str(config)), "[[servers]]", "PGDOCTOR_DSN", "--dsn")


@pytest.mark.parametrize(
    ("text", "word"),
    [(None, "No such file"), ("", "empty"), (" \n", "empty"), ("hunter2 of the test", "not a valid connection string")],
)
def test_a_dsn_file_without_a_dsn_is_one_line(tmp_path, text, word):
    file = tmp_path / "dsn"
    if text is not None:
        file.write_text(text)
    refuses(start("--dsn-file", str(file)), str(file), word)


def test_a_dsn_and_a_file_do_not_go_together(tmp_path, monkeypatch):
    refuses(start("--dsn", "host=a", "--dsn-file", "x"), "exclude each other")
    # A flag beats the environment.
    monkeypatch.setenv("PGDOCTOR_DSN", "host=a")
    refuses(start("--dsn-file", str(tmp_path / "x")), "No such file")


def test_a_password_that_changes_in_the_file_is_taken_up(scene, agent, tmp_path):
    right = scene.role("watcher", "pg_monitor", password="first kept-7q")
    file = tmp_path / "dsn"
    file.write_text(right + "\n")
    watching = agent(None, arguments=("--dsn-file", str(file)))
    watching.wait_for("up", 1)
    for place in ("cmdline", "environ"):
        assert b"kept-7q" not in Path(f"/proc/{watching.pid}/{place}").read_bytes()
    scene.admin.execute("alter role watcher password 'second kept-7q'")
    end = "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'watcher'"
    scene.admin.execute(end)
    watching.wait_for('connection_state{state="auth_failed"}', 1)
    file.unlink()
    watching.wait_for('connection_state{state="error"}', 1)
    assert f"the DSN file {file} cannot be read" in watching.get("/diagnosis").json()["error"]
    file.write_text(make_conninfo(right, password="second kept-7q"))
    watching.wait_for("up", 1)
    for path in ("/", "/metrics", "/health/deep", "/diagnosis"):
        assert "kept-7q" not in watching.get(path).text
    assert "kept-7q" not in str(watching.lines)


def test_a_file_is_known_by_its_path():
    assert DsnFile("a") == DsnFile("a") != DsnFile("b")
