"""Programs and modules that the tests of the packages need; a missing one is an error that says how to get it."""

import importlib
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from tests.packages import crds

#: Three versions of Kubernetes: an old one that still runs, one in wide use, and a new one.
KUBERNETES_VERSIONS = ("1.27", "1.31", "1.36")


def find_program(name: str, package: str) -> str:
    """Return the path of a program; fails the test if it is not installed."""
    # Some come as Python packages: their programs are beside the interpreter.
    found = shutil.which(name) or shutil.which(name, path=str(Path(sys.executable).parent))
    if found is None:
        pytest.fail(f"no {name} on the PATH: install {package}")
    return found


def find_module(name: str, package: str) -> ModuleType:
    """Import a module; fails the test if its package is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError:
        pytest.fail(f"no module {name}: pip install {package}")


def run(*command: object, timeout: float = 600, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, with its output as text."""
    words = [str(word) for word in command]
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=timeout, **options)


def succeed(*command: object, **options: Any) -> str:
    """Run a command that must succeed and return what it printed."""
    done = run(*command, **options)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def validate(document: dict[str, Any], version: str) -> None:
    """Check a manifest against Kubernetes' own schema of a version, or against that of the operator that defines it."""
    if "." in document["apiVersion"] and not document["apiVersion"].partition("/")[0].endswith(".k8s.io"):
        crds.validate(document)
        return
    kubernetes_validate = find_module("kubernetes_validate", "kubernetes-validate")
    kubernetes_validate.validate(document, version, strict=True)


def read_documents(text: str) -> list[dict[str, Any]]:
    """All documents of a YAML text that are not empty."""
    return [each for each in yaml.safe_load_all(text) if each]


def copy_tree(source: Path, target: Path) -> Path:
    """Copy a folder and return the copy."""
    return Path(shutil.copytree(source, target))
