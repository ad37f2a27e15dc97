"""The image, the compose file and the role, as far as they can be held against each other without an engine."""

import json
import subprocess
import sys

from tests.docker.shipped import DOCKER, documents, instructions
from tests.forked import pgdoctor


def check():
    """The command of the HEALTHCHECK, as the image runs it but for the port."""
    (said,) = instructions("HEALTHCHECK")
    _, *arguments = json.loads(said[said.index("[") :])
    return arguments


def healthy(port):
    arguments = [argument.replace("9899", str(port)) for argument in check()]
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False, timeout=20)
    return done.returncode == 0


def test_an_agent_whose_database_is_down_is_healthy(agent):
    running = agent("postgresql://app@127.0.0.1:1/shop")
    running.wait_for('connection_state{state="refused"}', 1.0)
    assert healthy(running.port)


def test_where_no_agent_answers_nothing_is_healthy(agent):
    running = agent("postgresql://app@127.0.0.1:1/shop")
    running.end()
    assert not healthy(running.port)


def test_the_image_has_all_that_the_package_is_built_from():
    copied = {word for line in instructions("COPY") if not line.startswith("--") for word in line.split()[:-1]}
    assert {
        "pyproject.toml",
        "README.md",
        "LICENSE",
        "constraints.txt",
        "pgdoctor",
        "sql",
        "docker/alerts.yml",
        "docker/alerts_fast.yml",
    } <= copied
    assert all((DOCKER.parent / name).exists() for name in copied)


def test_containers_do_not_run_as_root_and_mount_the_journal():
    assert list(instructions("USER")) == ["10001:10001"]
    (places,) = instructions("VOLUME")
    (environment,) = (line for line in instructions("ENV") if "STATE_DIRECTORY" in line)
    assert f"STATE_DIRECTORY={places}" in environment
    (compose,) = documents("compose.yml")
    agent = compose["services"]["pgdoctor"]
    assert agent["volumes"] == [f"journal:{places}"]
    assert agent["read_only"]
    assert agent["cap_drop"] == ["ALL"]


def test_the_role_of_the_compose_file_is_that_of_setup():
    assert (DOCKER / "postgres-role.sql").read_text() == pgdoctor("setup").stdout


def test_nothing_of_the_compose_file_is_open_beyond_this_machine():
    (compose,) = documents("compose.yml")
    ports = [port for service in compose["services"].values() for port in service.get("ports", ())]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)
