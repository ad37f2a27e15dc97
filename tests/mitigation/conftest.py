"""A scene with people in it who have nothing to do with the incident, and an agent of few rights."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from pgdoctor.enforcement.mitigator import Mitigator
from pgdoctor.enforcement.run_loop import carry_out
from pgdoctor.fields import Duration
from pgdoctor.journal.keeper import Keeper
from pgdoctor.mitigation.history import Action
from pgdoctor.mitigation.rules import Mitigation, Rule
from pgdoctor.model.identity import Identity
from pgdoctor.postgres.connection import Connection
from pgdoctor.postgres.signal import Signal, SignalReply, send_signal
from tests.leading import take_the_lead
from tests.scenes import Client, Scene
from tests.scenes.client import wait_until

_MIN_WAIT = Duration(0.1)

#: Whether the oldest wait is longer than the `min_wait` of `rule`. The server writes when it began a moment later.
_WAITED = """
    select coalesce(max(coalesce(clock_timestamp() - waitstart, '0')) > '0.15 s', true)
      from pg_locks where not granted
"""

_ALIVE = """
    select count(*) from pg_stat_activity where pid = any(%s) and application_name = 'bystander' and state = any(%s)
"""


def rule(name: str, classification: str | tuple[str, ...], action: str, **conditions: Any) -> Rule:
    """A rule that needs no long wait."""
    usual: dict[str, Any] = {"min_wait": _MIN_WAIT, "min_session_age": Duration(0)}
    if action == "cancel_then_terminate":
        usual["grace"] = Duration(1)
    return Rule(name=name, classification=classification, action=action, **{**usual, **conditions})  # type: ignore[arg-type]


IDLE = rule("idle", "idle_in_transaction", "terminate")
DDL = rule("ddl", ("migration", "explicit_lock"), "cancel")
SLOW = rule("slow", ("long_query", "unindexed_scan", "advisory_lock"), "cancel")


@dataclass
class Incident:
    """A database with a table, an agent that may see everything and signal ordinary users, and bystanders."""

    scene: Scene
    #: Connection strings.
    agent: str
    app_dsn: str

    def app(self, *statements: str, user: str = "app", **options: Any) -> Client:
        """A session of the application."""
        return self.scene.client(*statements, user=user, **options)

    def mitigate(
        self,
        *rules: Rule,
        dsn: str | None = None,
        most: int = 10,
        patience: float = 0.0,
        journal: Keeper | None = None,
        brake: Callable[[], str | None] = lambda: None,
        **settings: Any,
    ) -> tuple[list[Action], Mitigator]:
        """Carry out what the rules allow; the actions, and the mitigator with all it counted."""
        # Where each session waits for a moment only, none ever waits for long.
        if any(each.min_wait == _MIN_WAIT for each in rules):
            wait_until(self.has_waited, what="the wait is long enough for the rules")
        usual: dict[str, Any] = {
            "mode": "enforce",
            "cooldown": Duration(0),
            "allow_short_waits": True,
            "rules": rules,
        }

        async def braked() -> str | None:
            return brake()

        mitigator = Mitigator(Mitigation(**{**usual, **settings}), journal, brake=braked)

        async def work() -> list[Action]:
            async with await Connection.open(dsn or self.agent) as door:
                looks = carry_out(mitigator, door, most=most, patience=patience, pause=0.05)
                return [action async for action in looks]

        return asyncio.run(work()), mitigator

    def send(self, signal: Signal, victim: Identity) -> SignalReply:
        """Signal past all guards but those of the statement itself."""

        async def work() -> SignalReply:
            async with await Connection.open(self.agent) as door:
                await take_the_lead(door)
                return await send_signal(door, signal, victim, min_wait=0)

        return asyncio.run(work())

    def has_waited(self) -> bool:
        """Whether the oldest wait is longer than the 0.1 s that `rule` asks for, or no session waits."""
        unshadowed = make_conninfo(self.agent, options="-c search_path=pg_catalog")
        with psycopg.connect(unshadowed, autocommit=True) as looking:
            [(waited,)] = looking.execute(_WAITED).fetchall()
        return bool(waited)

    def alive(self, *clients: Client) -> bool:
        """Whether the sessions are still there."""
        pids = [client.pid for client in clients]
        [(found,)] = self.scene.admin.execute(
            "select count(*) from pg_stat_activity where pid = any(%s)", [pids]
        ).fetchall()
        return bool(found == len(clients))


@pytest.fixture
def incident(scene: Scene) -> Iterator[Incident]:
    """At its end all sessions without a part in it are still there."""
    yield from people(scene)


def people(scene: Scene) -> Iterator[Incident]:
    scene.admin.execute("create table orders (id int primary key, v int)")
    scene.admin.execute("insert into orders select g, 0 from generate_series(1, 100) g")
    scene.admin.execute("create table elsewhere (id int primary key, v int)")
    scene.admin.execute("insert into elsewhere values (1, 0)")
    app = scene.role("app", "all on elsewhere", "create on schema public")
    scene.admin.execute("alter table orders owner to app")
    staged = Incident(scene, scene.role("agent", "pg_monitor", "pg_signal_backend"), app)
    bystanders = [
        staged.app("update elsewhere set v = 1", application_name="bystander"),
        staged.app(application_name="bystander", autocommit=True).start("select pg_sleep(600)"),
        staged.app("select 1", application_name="bystander", autocommit=True),
    ]
    yield staged
    pids = [client.pid for client in bystanders]
    states = ["idle in transaction", "active", "idle"]
    assert scene.admin.execute(_ALIVE, [pids, states]).fetchall() == [(3,)], "a bystander was hurt"
    assert bystanders[1].busy
    bystanders[0].run("commit")
