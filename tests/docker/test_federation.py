"""One Prometheus over those of two sites: docker/federation.yml, with real agents, servers and incidents."""

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.agent.running import RunningAgent
from tests.docker.running_prometheus import ask, query, run_prometheus
from tests.docker.shipped import DOCKER
from tests.scenes import Scene
from tests.scenes.client import wait_until

pytestmark = [
    pytest.mark.long,
    pytest.mark.deadline(240),
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="no prometheus on this machine"),
]


@pytest.fixture
def start_site(tmp_path: Path) -> Iterator[Callable[[str, int], str]]:
    """Start the Prometheus of a site, for an agent at a port that is `db:9899` to all; its address."""
    with ExitStack() as stack:

        def start(site: str, port: int) -> str:
            config = (
                f"global: {{scrape_interval: 1s, evaluation_interval: 1s, external_labels: {{site: {site}}}}}\n"
                f"rule_files: [{DOCKER}/alerts.yml]\n"
                f"scrape_configs: [{{job_name: pgdoctor, static_configs: [{{targets: ['127.0.0.1:{port}'],"
                " labels: {instance: 'db:9899'}}]}]\n"
            )
            return stack.enter_context(run_prometheus(tmp_path / site, config))

        yield start


def start_second(stack: ExitStack, folder: Path, password_file: Path) -> RunningAgent:
    """An agent of two servers, one of which is down."""
    shop = f'[[servers]]\nname = "shop"\ndsn_file = "{password_file}"\n'
    dead = '[[servers]]\nname = "dead"\ndsn = "host=127.0.0.1 port=1"\n'
    return stack.enter_context(RunningAgent(None, folder / "second.toml", more=shop + dead))


def states(address: str, expression: str) -> dict[tuple[str, str, str], float]:
    """The values by site, instance and server."""
    return {
        (labels["site"], labels["instance"], labels.get("server", "")): float(each["value"][1])
        for each in query(address, expression)
        for labels in [each["metric"]]
    }


def test_federated_sites_keep_their_labels_and_alerts(
    scene: Scene, agent: Callable[..., RunningAgent], start_site: Callable[[str, int], str], tmp_path: Path
) -> None:
    password_file = tmp_path / "dsn"
    password_file.write_text(scene.dsn)
    password_file.chmod(0o600)
    scene.admin.execute("create table orders (id int primary key)")
    with ExitStack() as stack:
        second = start_second(stack, tmp_path, password_file)
        sites = start_site("fra", agent(scene.dsn).port), start_site("ams", second.port)
        shipped = (DOCKER / "federation.yml").read_text()
        config = shipped.replace("prometheus-fra:9090", sites[0]).replace("prometheus-ams:9090", sites[1])
        config = re.sub(r"_interval: 15s", "_interval: 1s", config).replace("[fed", f"[{DOCKER}/fed")
        above = stack.enter_context(run_prometheus(tmp_path / "above", config))
        expected = {("fra", "db:9899", ""): 1.0, ("ams", "db:9899", "shop"): 1.0, ("ams", "db:9899", "dead"): 0.0}
        wait_until(lambda: ask(above, "query?query=pgdoctor_up") and states(above, "pgdoctor_up") == expected, 90, "up")

        scene.client("lock table orders")
        scene.client().block("select * from orders")
        blocked = {("fra", "db:9899", ""), ("ams", "db:9899", "shop")}
        wait_until(lambda: states(above, "pgdoctor_blocked_sessions == 1").keys() == blocked, 60, "blocked sessions")
        wait_until(lambda: query(above, 'up{job="federation"} == 1 and scrape_samples_scraped > 100'), 60, "scrapes")
        wait_until(lambda: query(above, 'ALERTS{site="ams", server="dead"}'), 90, "an alert of a site")
