"""The compose file's incident on demand, and the configuration of its Prometheus and Alertmanager."""

import os
import shutil
import signal
import subprocess

import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.docker.shipped import DOCKER, documents
from tests.looking import look

NAMES = {"host": "PGHOST", "port": "PGPORT", "dbname": "PGDATABASE", "user": "PGUSER", "password": "PGPASSWORD"}


@pytest.fixture
def incident(scene):
    """The script, running on the server of the scene."""
    if shutil.which("psql") is None or shutil.which("bash") is None:
        pytest.skip("no psql or no bash on this machine")
    there = conninfo_to_dict(scene.dsn)
    server = {variable: str(there[key]) for key, variable in NAMES.items() if key in there}
    command = [DOCKER / "incident.sh"]
    running = subprocess.Popen(command, env={**os.environ, **server}, stdout=subprocess.DEVNULL, start_new_session=True)
    yield running
    os.killpg(running.pid, signal.SIGTERM)
    running.wait(30)


def test_incident_on_demand_is_a_migration_behind_an_open_transaction(scene, incident):
    report = scene.wait_until(lambda: thirteen_wait(scene), timeout=60)
    assert incident.poll() is None
    root = max(report.blockers, key=lambda each: each.blocked_sessions)
    assert (root.classification, root.application) == ("idle_in_transaction", "forgotten")


def thirteen_wait(scene):
    """The report, once the migration and all readers wait."""
    report = look(scene.dsn)
    return report if report.blocked_sessions == 13 else None


def test_prometheus_sends_alerts_to_the_alertmanager_of_the_compose_file():
    (compose,) = documents("compose.yml")
    (prometheus,) = documents("prometheus.yml")
    ((target,),) = [each["targets"] for each in prometheus["alerting"]["alertmanagers"][0]["static_configs"]]
    host, port = target.split(":")
    assert f"127.0.0.1:{port}:{port}" in compose["services"][host]["ports"]


def test_alertmanager_accepts_its_configuration():
    if shutil.which("amtool") is None:
        pytest.skip("no amtool on this machine")
    checked = subprocess.run(["amtool", "check-config", DOCKER / "alertmanager.yml"], capture_output=True, check=False)
    assert checked.returncode == 0, checked.stderr
