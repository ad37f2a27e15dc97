"""An agent whose incident is in another database."""

from collections.abc import Callable

from tests.agent.running import SOON, RunningAgent
from tests.postgres.test_other_databases import OWN, SCAN, Elsewhere
from tests.scenes import Client, Scene
from tests.scenes.client import wait_until


def blocker_of(agent: RunningAgent, client: Client) -> dict:
    found = [each for each in agent.get("/diagnosis").json().get("blockers", ()) if each["pid"] == client.pid]
    return found[0] if found else {}


def test_the_agent_names_the_table_and_the_index_of_a_scan_elsewhere(
    scene: Scene, agent: Callable[..., RunningAgent]
) -> None:
    billing = Elsewhere(scene)
    scan = billing.client("update orders set v = 1 where id = 8").start(SCAN)
    billing.client().block("update orders set v = 2 where id = 8")
    running = agent(scene.dsn, prompt=10.0)
    found = wait_until(lambda: (said := blocker_of(running, scan)).get("relation") and said, 15)
    assert (found["class"], found["relation"], found["database"]) == ("unindexed_scan", "public.orders", billing.name)
    assert "CREATE INDEX CONCURRENTLY ON public.orders (customer_id)" in found["recommendation"]["reason"]
    scene.admin.execute("select pg_terminate_backend(%s)", [scan.pid])
    wait_until(lambda: scene.admin.execute(OWN, [billing.name]).fetchone() == (0,), 15)
    assert running.end()[1] == 0


def test_the_agent_stays_in_one_database_where_configured(scene: Scene, agent: Callable[..., RunningAgent]) -> None:
    billing = Elsewhere(scene)
    holder = billing.incident()
    running = agent(scene.dsn, prompt=10.0, more="look_into_databases = false\n")
    found = wait_until(lambda: blocker_of(running, holder), 15)
    running.wait_for_polls(3)
    assert found["relation"] is None
    assert any("look_into_databases is off" in each for each in found["evidence"])
    assert scene.admin.execute(OWN, [billing.name]).fetchone() == (0,)


def test_an_agent_that_ends_leaves_no_connection(scene: Scene, agent: Callable[..., RunningAgent]) -> None:
    billing = Elsewhere(scene)
    holder = billing.incident()
    running = agent(scene.dsn, prompt=10.0)
    wait_until(lambda: blocker_of(running, holder).get("relation") == "public.orders", 15)
    seconds, status = running.end()
    assert status == 0
    assert seconds < SOON
    wait_until(lambda: scene.admin.execute(OWN, [billing.name]).fetchone() == (0,))
    assert not [line for line in running.lines if line["level"] in ("error", "critical")], running.said
