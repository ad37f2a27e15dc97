"""From the first waiting session to a firing alert: a real server, agent and Prometheus at their usual intervals."""

import re
import shutil
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.agent.running import RunningAgent
from tests.docker.running_prometheus import ask, query, run_prometheus
from tests.docker.shipped import DOCKER, panels
from tests.scenes import Scene
from tests.scenes.client import wait_until

pytestmark = [
    pytest.mark.long,
    pytest.mark.deadline(420),
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="no prometheus on this machine"),
]

#: Seconds between two scrapes, and between two evaluations of rules: a usual configuration.
SCRAPE = 15


#: Panels that show nothing while mitigation is off.
OF_MITIGATION = {
    "Actions and refusals",
    "Actions left in the budgets",
    "Score: actions that were not sent",
    "Score: waiting that armed rules would save",
}


@pytest.fixture
def prometheus(tmp_path: Path) -> Iterator[Callable[[int], str]]:
    """Start a Prometheus that scrapes the agent at a port; its address."""
    with ExitStack() as stack:

        def start(port: int) -> str:
            config = (
                f"global: {{scrape_interval: {SCRAPE}s, evaluation_interval: {SCRAPE}s}}\n"
                f"rule_files: [{DOCKER}/alerts.yml, {DOCKER}/alerts_fast.yml]\n"
                f"scrape_configs: [{{job_name: pgdoctor, static_configs: [{{targets: ['127.0.0.1:{port}']}}]}}]\n"
            )
            return stack.enter_context(run_prometheus(tmp_path / "prometheus", config))

        yield start


def firing(address: str) -> dict[str, dict]:
    """The alerts that fire, by name."""
    alerts = ask(address, "alerts").get("alerts", [])
    return {each["labels"]["alertname"]: each for each in alerts if each["state"] == "firing"}


def dashboard_expressions() -> Iterator[tuple[str, str]]:
    """Title of the panel and expression, with the variables as Grafana fills them for all."""
    for panel in panels():
        for target in panel["targets"]:
            filled = re.sub(r"\$__(range|rate_interval)", "5m", target["expr"])
            yield panel["title"], re.sub(r"\$(instance|server)", ".*", filled)


@pytest.mark.parametrize(
    ("waiters", "alert", "most"), [(10, "PgdoctorManySessionsBlocked", 60), (1, "PgdoctorWaitLasts", 300)]
)
def test_alert_fires_within_its_time(
    scene: Scene,
    agent: Callable[..., RunningAgent],
    prometheus: Callable[[int], str],
    waiters: int,
    alert: str,
    most: float,
    record_property: Callable[[str, object], None],
) -> None:
    scene.admin.execute("create table orders (id int primary key, v int); insert into orders values (1, 0)")
    running = agent(scene.dsn, interval="1s")
    running.wait_for("up", 1.0)
    address = prometheus(running.port)
    wait_until(lambda: ask(address, "query?query=pgdoctor_up").get("result"), 60, "a first scrape")
    assert firing(address) == {}
    scene.client("lock table orders")
    began = time.monotonic()
    for _ in range(waiters):
        scene.client().block("update orders set v = 1 where id = 1")
    fired = wait_until(lambda: firing(address).get(alert), most + 60, alert)
    took = time.monotonic() - began
    record_property("seconds", round(took, 1))
    print(f"{alert}: {took:.1f} s")
    assert took < most
    assert fired["annotations"]["summary"].startswith(f"127.0.0.1:{running.port}: ")
    assert f"{waiters} blocked now, the oldest wait " in fired["annotations"]["summary"]
    assert "mostly by class idle_in_transaction" in fired["annotations"]["summary"]
    assert fired["annotations"]["page"] == f"http://127.0.0.1:{running.port}/"
    empty = {title for title, expression in dashboard_expressions() if not query(address, expression)}
    assert empty <= OF_MITIGATION
    with urllib.request.urlopen(fired["annotations"]["runbook_url"], timeout=10) as page:
        assert page.read().decode().startswith(f"{alert} (alert)\n")
