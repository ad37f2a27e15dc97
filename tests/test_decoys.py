"""No command and no agent calls an object that the owner of a database has put before the server's."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.agent.running import RunningAgent
from tests.agent.test_mitigation import rules
from tests.cli.conftest import RULES
from tests.evil import HOSTILE, Decoys
from tests.forked import pgdoctor
from tests.live.terminal import Terminal
from tests.pooler import PROGRAM, pooler
from tests.scenes import Client, Scene

pytestmark = [pytest.mark.long, pytest.mark.deadline(180)]

_TABLES = """
    create table public.orders (id int primary key, v int);
    create table public.items (id int primary key, order_id int references public.orders);
    insert into public.orders select g, 0 from pg_catalog.generate_series(1, 9) g;
    create table public.flyway_schema_history (version text);
    grant all on all tables in schema public to watcher;
"""
#: The decoys are not for clients of a scene.
_OPTIONS = {"options": "-c search_path=pg_catalog,public -c exit_on_error=off -c statement_timeout=0 -c lock_timeout=0"
            " -c idle_in_transaction_session_timeout=0 -c default_transaction_isolation=read\\ committed"}  # fmt: skip


class Incident:
    """A hostile owner's database in which sessions wait, for whom every statement of a poll is sent."""

    def __init__(self, scene: Scene, decoys: Decoys, form: str, way: str) -> None:
        self.dsn = scene.role("watcher", "pg_monitor", "pg_signal_backend")
        scene.role("mallory")
        scene.admin.execute(f"alter database {scene.admin.info.dbname} owner to mallory".encode())
        scene.admin.execute(_TABLES)
        # Until a transaction is ours, the pooler's time-outs are in force.
        lenient = (
            {} if way == "direct" else {"statement_timeout": "'1s'", "idle_in_transaction_session_timeout": "'1s'"}
        )
        decoys.hand_over(form.format(database=scene.admin.info.dbname), HOSTILE | lenient)
        scene.role("app", "all on public.orders", "all on public.items", "all on public.flyway_schema_history")
        self.idle = self._client(scene, "update public.orders set v = 1 where id = 1")
        self.waiters = [self._client(scene).block("update public.orders set v = 2 where id = 1")]
        alter = self._client(scene, "lock table public.flyway_schema_history", user=None)
        alter.run("alter table public.items add c int")
        alter.run("select pg_catalog.pg_advisory_xact_lock(7)")
        self.waiters.append(self._client(scene).block("select from public.items"))
        scanner = self._client(scene).start("update public.orders set v = v where v = 3 and pg_sleep(60) is null")
        assert scanner.busy
        self.waiters.append(self._client(scene).block("select pg_catalog.pg_advisory_xact_lock(7)"))

    @staticmethod
    def _client(scene: Scene, *statements: str, user: str | None = "app") -> Client:
        return scene.client(*statements, user=user, **_OPTIONS)


#: Makes `preflight` ask for tables, columns, types, constraints, functions and blocking sessions.
_SCRIPT = """
    alter table public.orders alter v type bigint, add check (v > 0), add c int default length('x');
    alter table public.items add foreign key (order_id) references public.orders, alter order_id set not null;
    update public.orders set v = 1
"""

_DATABASE = "database {database}"
#: How to the server, and for whom the owner has set his settings. Through a pooler one form is enough: it hands on what
#: is in force there, after any change.
_CASES = [
    ("direct", _DATABASE),
    ("direct", "role watcher"),
    ("direct", "role watcher in database {database}"),
    ("transaction", _DATABASE),
    ("session", _DATABASE),
    ("ignored", _DATABASE),
]


@pytest.fixture(params=_CASES, ids=lambda case: f"{case[0]}, {case[1].format(database='')}")
def case(request: pytest.FixtureRequest) -> tuple[str, str]:
    way, form = request.param
    if way != "direct" and PROGRAM is None:
        pytest.skip("no pgbouncer here: set PGDOCTOR_TEST_PGBOUNCER to one")
    return way, form


@pytest.fixture
def way(case: tuple[str, str]) -> str:
    return case[0]


@pytest.fixture
def incident(scene: Scene, decoys: Decoys, case: tuple[str, str]) -> Incident:
    way, form = case
    return Incident(scene, decoys, form, way)


@pytest.fixture
def dsn(scene: Scene, incident: Incident, way: str, tmp_path: Path) -> Iterator[str]:
    """The way to the server; `ignored`: a pooler that drops the start-up options."""
    with ExitStack() as stack:
        if way == "direct":
            yield incident.dsn
            return
        mode = "transaction" if way == "ignored" else way
        more = "ignore_startup_parameters = options" if way == "ignored" else ""
        yield stack.enter_context(pooler(incident.dsn, tmp_path, mode, more, (scene.dsn,)))


def test_h51_no_command_calls_a_decoy(incident: Incident, decoys: Decoys, dsn: str, way: str, tmp_path: Path) -> None:
    journal = f'[journal]\npath = "{tmp_path}/journal.db"\n'
    protect = '[[mitigation.protect]]\nusename = ["mallory"]\nrelation = ["public.items"]\n'
    (tmp_path / "pgdoctor.toml").write_text(journal + RULES + protect)
    config = ("--config", str(tmp_path / "pgdoctor.toml"))
    found = pgdoctor("diagnose", "--explain", "--format", "json", "--dsn", dsn)
    assert (found.returncode, found.stderr) == (0, "")
    assert len(json.loads(found.stdout)["waits"]) == 3
    check = ("config", "check", config[1])
    holders = (("holders",), ("holders", "public.orders"))
    for command in (("triage",), ("locks",), *holders, ("mitigate", *config), ("diagnose",), check):
        done = pgdoctor(*command, "--dsn", dsn)
        assert (done.returncode, decoys.called()) == (0, []), (command, done)
    done = pgdoctor("preflight", "--dsn", dsn, _SCRIPT)
    assert (done.returncode, decoys.called()) == (1, []), done
    assert "public.orders" in done.stdout
    for brake in ("disarm", "arm"):
        done = pgdoctor("mitigate", brake, "--reason", "x", *config, "--dsn", dsn)
        assert (done.returncode, decoys.called()) == (0, []), done
    terminal = Terminal("--interval", "200ms", PGDOCTOR_DSN=dsn)
    try:
        terminal.until("3 sessions blocked")
    finally:
        terminal.close()
    done = pgdoctor("mitigate", "--execute", *config, "--dsn", dsn)
    assert "a decoy" not in done.stderr
    if way == "direct":
        incident.waiters[0].finish()
        with pytest.raises(psycopg.OperationalError):
            incident.idle.run("select")
    else:
        assert "pooler" in done.stdout + done.stderr
        incident.idle.run("rollback")
    assert decoys.called() == []


def test_h51_the_agent_calls_no_decoy(incident: Incident, decoys: Decoys, dsn: str, way: str, tmp_path: Path) -> None:
    with RunningAgent(dsn, tmp_path / "pgdoctor.toml", more=rules(), arguments=("--enforce",)) as watching:
        watching.wait_for("up", 1)
        watching.wait_for_polls(5)
        if way == "direct":
            incident.waiters[0].finish(20)
        else:
            assert "connected through a pooler" in str(watching.lines)
        assert watching.get("/health/deep").status_code == 200
        assert "decoy" not in str(watching.lines)
        assert str(conninfo_to_dict(dsn)["password"]) not in str(watching.lines)
    listed = pgdoctor("incidents", "list", "--format", "json")
    assert (listed.returncode, listed.stderr) == (0, "")
    [name] = [each["id"] for each in json.loads(listed.stdout)]
    for command in (("show", name), ("report", name), ("replay", name)):
        done = pgdoctor("incidents", *command)
        assert (done.returncode, done.stderr) == (0, ""), (command, done)
    assert decoys.called() == []
