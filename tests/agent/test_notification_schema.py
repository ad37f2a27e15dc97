"""A notification of a real agent is valid against its JSON Schema."""

import json
from collections.abc import Callable

import pytest

from tests.agent.running import RunningAgent
from tests.docs.test_schemas import check
from tests.notify.receiving import Receiving, answer
from tests.scenes import Scene
from tests.scenes.client import wait_until


@pytest.mark.deadline(120)
def test_notification_is_valid(scene: Scene, agent: Callable[..., RunningAgent]) -> None:
    scene.admin.execute("create table orders (id int primary key, v int); insert into orders values (1, 0)")
    with Receiving(answer(200)) as there:
        watching = agent(scene.dsn, more=f'[[notify]]\nname = "oncall"\nurl = "{there.url}"\n')
        watching.wait_for("up", 1)
        first = scene.client("update orders set v = 1 where id = 1")
        second = scene.client().block("update orders set v = 2 where id = 1")
        watching.wait_for("blocked_sessions", 1)
        first.run("rollback")
        second.finish()
        wait_until(lambda: there.bodies and there.bodies[-1]["status"] == "resolved", 60)
    for body in there.bodies:
        check("notification", json.dumps(body))
