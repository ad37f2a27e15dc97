"""The image, the compose file and the role, as far as they can be held against each other without an engine."""

import importlib.util
import json
import socket
import ssl
import threading
from contextlib import suppress

import pytest
import trustme

from tests.docker.shipped import DOCKER, documents, instructions
from tests.forked import pgdoctor


@pytest.fixture(scope="module")
def health():
    """The script of the HEALTHCHECK."""
    (said,) = instructions("HEALTHCHECK")
    *_, path = json.loads(said[said.index("[") :])
    assert f"COPY docker/health.py {path}" in (DOCKER / "Dockerfile").read_text()
    spec = importlib.util.spec_from_file_location("health", DOCKER / "health.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_an_agent_whose_database_is_down_is_healthy(agent, health):
    running = agent("postgresql://app@127.0.0.1:1/shop")
    running.wait_for('connection_state{state="refused"}', 1.0)
    address = ("127.0.0.1", running.port)
    assert address in set(health.find_addresses())
    assert health.is_healthy(address)


def test_where_no_agent_answers_nothing_is_healthy(agent, health):
    running = agent("postgresql://app@127.0.0.1:1/shop")
    running.end()
    address = ("127.0.0.1", running.port)
    assert address not in set(health.find_addresses())
    assert not health.is_healthy(address)


def test_health_check_follows_tls_and_any_address(health, tmp_path):
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("elsewhere").configure_cert(context)
    with socket.create_server(("0.0.0.0", 0)) as listener:
        address = ("127.0.0.1", listener.getsockname()[1])
        assert address in set(health.find_addresses())
        for status, expected in ((200, True), (503, False)):
            answering = threading.Thread(target=answer, args=(listener, context, status), daemon=True)
            answering.start()
            assert health.is_healthy(address) is expected
            answering.join(30)


def answer(listener, context, status):
    """Refuse what is not TLS, then answer one request."""
    refused, _ = listener.accept()
    with refused, suppress(OSError), context.wrap_socket(refused, server_side=True):
        pass
    taken, _ = listener.accept()
    with taken, context.wrap_socket(taken, server_side=True) as stream:
        stream.recv(999)
        stream.sendall(f"HTTP/1.0 {status} Said\r\n\r\n".encode())


@pytest.mark.parametrize(("digits", "host"), [("0100007F", "127.0.0.1"), ("0" * 24 + "01000000", "::1")])
def test_addresses_of_the_kernel_are_read(health, digits, host):
    assert health.read_address(digits) == host


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
