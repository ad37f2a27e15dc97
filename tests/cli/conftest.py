"""An incident for the commands, and rules that would end it."""

from pathlib import Path

import pytest

from tests.scenes import Client, Scene

RULES = """
[mitigation]
mode = "enforce"
cooldown = "0s"
allow_short_waits = true
[[mitigation.rules]]
name = "idle"
class = "idle_in_transaction"
action = "terminate"
min_wait = "0s"
min_session_age = "0s"
"""


@pytest.fixture
def holder(scene: Scene) -> Client:
    """Is idle in its transaction and holds a row up."""
    scene.admin.execute("create table orders (id int primary key, v int)")
    scene.admin.execute("insert into orders values (1, 0)")
    return scene.client("update orders set v = 4711 where id = 1")


@pytest.fixture
def waiter(scene: Scene, holder: Client) -> Client:
    return scene.client().block("update orders set v = 4712 where id = 1")


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    file = tmp_path / "pgdoctor.toml"
    file.write_text(RULES)
    return file
