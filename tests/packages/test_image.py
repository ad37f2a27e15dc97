"""The image: built and run by docker/smoke.sh, with an engine that is there or that it starts."""

import os
import shutil
import socket

import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.docker.shipped import DOCKER
from tests.packages.tools import run


def test_image_is_built_and_runs_on_a_read_only_root(scene):
    """It diagnoses a server from inside; it ends with status 0 at SIGTERM."""
    if shutil.which("docker") is None:
        pytest.fail("no docker on the PATH: install docker.io")
    there = conninfo_to_dict(scene.dsn)
    names = {"host": "PGHOST", "port": "PGPORT", "dbname": "PGDATABASE", "user": "PGUSER", "password": "PGPASSWORD"}
    server = {variable: str(there[key]) for key, variable in names.items() if key in there}
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
    # Not in memory, where the tests keep other files: the engine copies its layers, gigabytes in all.
    environment = {**os.environ, **server, "PGDOCTOR_SMOKE_PORT": str(port), "TMPDIR": "/var/tmp"}
    done = run(DOCKER / "smoke.sh", env=environment, timeout=1700)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    assert "smoke: built, healthy" in done.stdout
