"""A real Alertmanager takes the alerts of a real agent: they fire, and resolve by the same labels.

PGDOCTOR_TEST_ALERTMANAGER is its program, where it is not `prometheus-alertmanager` on the PATH.
"""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.scenes.client import wait_until

PROGRAM = os.environ.get("PGDOCTOR_TEST_ALERTMANAGER") or shutil.which("prometheus-alertmanager")

pytestmark = [
    pytest.mark.skipif(PROGRAM is None, reason="no Alertmanager here: set PGDOCTOR_TEST_ALERTMANAGER to one"),
    pytest.mark.deadline(120),
]

#: A hostile application name, and as which text it arrives.
HOSTILE = "<!here> {{ .Labels }} & https://evil.example"
SHOWN = "‹!here› { { .Labels }} ＆ https:／／evil［.］example"


@pytest.fixture
def alertmanager(tmp_path: Path) -> Iterator[str]:
    """The address of one that has no receivers."""
    config = tmp_path / "alertmanager.yml"
    config.write_text("route: {receiver: none}\nreceivers: [{name: none}]\n")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
    options = {
        "config.file": config,
        "storage.path": tmp_path / "data",
        "web.listen-address": address,
        "cluster.listen-address": "",
    }
    assert PROGRAM is not None
    command = [PROGRAM, *(f"--{name}={value}" for name, value in options.items())]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    url = f"http://{address}"
    try:
        wait_until(lambda: answers(f"{url}/-/ready"), 30)
        yield url
    finally:
        process.terminate()
        process.wait(20)


def answers(url: str) -> bool:
    try:
        return httpx.get(url).status_code == 200
    except httpx.TransportError:
        return False


def active(url: str) -> list[dict[str, Any]]:
    """The alerts that fire."""
    found: list[dict[str, Any]] = httpx.get(f"{url}/api/v2/alerts").json()
    return found


def test_alert_fires_and_resolves_by_its_labels(scene, agent, alertmanager):
    scene.admin.execute("create table orders (id int primary key, v text)")
    scene.admin.execute("insert into orders values (1, 'x')")
    notify = f'[[notify]]\nname = "am"\nformat = "alertmanager"\nurl = "{alertmanager}/api/v2/alerts"\n'
    link = '[http]\nexternal_url = "https://pg.example/db1"\n'
    watching = agent(scene.dsn, more=link + notify)
    watching.wait_for("up", 1)
    holder = scene.client()
    holder.run(f"set application_name = '{HOSTILE}'")
    holder.run("begin")
    holder.run("update orders set v = 'zq7hunter2' where id = 1")
    waiter = scene.client().block("update orders set v = 'b' where id = 1")
    wait_until(lambda: active(alertmanager), 30)
    [alert] = active(alertmanager)
    assert alert["labels"] == {
        "alertname": "PgdoctorIncident",
        "server": "postgres",
        "service": "postgres",
        "severity": "warning",
    }
    assert alert["status"]["state"] in ("active", "unprocessed")
    page = f"https://pg.example/db1/incidents/{alert['annotations']['incident']}"
    assert alert["generatorURL"] == alert["annotations"]["page"] == page
    assert f"root {holder.pid} (idle_in_transaction)" in alert["annotations"]["summary"]
    assert alert["annotations"]["application"] == SHOWN
    assert "zq7hunter2" not in str(alert)
    holder.run("commit")
    waiter.finish()
    wait_until(lambda: not active(alertmanager), 30)
    watching.wait_for('notifications_total{outcome="delivered"}', 2)


def test_test_notification_is_taken(tmp_path, alertmanager):
    file = tmp_path / "pgdoctor.toml"
    file.write_text(f'[[notify]]\nname = "am"\nformat = "alertmanager"\nurl = "{alertmanager}/api/v2/alerts"\n')
    command = [sys.executable, "-m", "pgdoctor", "config", "test-notify", "am", file]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert [each["labels"]["alertname"] for each in active(alertmanager)] == ["PgdoctorTest"]
