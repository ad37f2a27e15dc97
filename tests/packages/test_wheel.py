"""The wheel as users install it: with its dependencies, on each Python that is there, up to the first diagnosis."""

import os
import sys
import time

import pytest

from tests.docker.shipped import DOCKER
from tests.packages.tools import find_module, succeed
from tests.pythons import find_python

CHECKOUT = DOCKER.parent
#: The oldest and the newest Python that are promised.
VERSIONS = ("3.11", "3.13")


@pytest.fixture(scope="session")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    succeed(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, CHECKOUT)
    return next(folder.glob("*.whl"))


@pytest.mark.parametrize("version", VERSIONS)
def test_wheel_diagnoses_a_server_after_pip_install(wheel, scene, tmp_path, version):
    python = find_python(version)
    if python is None:
        pytest.skip(f"no Python {version} with venv on this machine: install it, or pyenv's")
    began = time.monotonic()
    environment = {name: text for name, text in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    succeed(python, "-m", "venv", tmp_path / "venv", env=environment)
    program = tmp_path / "venv" / "bin"
    constraints = CHECKOUT / "constraints.txt"
    succeed(program / "pip", "install", "--quiet", "--constraint", constraints, wheel, env=environment)
    said = succeed(program / "pgdoctor", "diagnose", scene.dsn, env=environment)
    print(f"Python {version}: {time.monotonic() - began:.0f} s from an empty environment to the first diagnosis")
    assert "no session is blocked" in said.lower()
    assert f"Python {version}" in succeed(program / "python", "--version", env=environment)


def test_index_renders_the_long_description(wheel):
    find_module("twine", "twine")
    sdist = next(wheel.parent.glob("*.tar.gz"))
    said = succeed(sys.executable, "-m", "twine", "check", "--strict", wheel, sdist)
    assert said.count("PASSED") == 2
