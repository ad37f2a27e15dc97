"""The files of docker/, read as those who use them read them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

DOCKER = Path(__file__).resolve().parents[2] / "docker"


def documents(name: str) -> list[Any]:
    """All documents of a YAML file."""
    return list(yaml.safe_load_all((DOCKER / name).read_text(encoding="utf-8")))


def rules() -> list[dict[str, Any]]:
    """The alerts, in their order."""
    (file,) = documents("alerts.yml")
    return [rule for group in file["groups"] for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    """Those of the dashboard."""
    return json.loads((DOCKER / "dashboard.json").read_text(encoding="utf-8"))["panels"]


def container(pod: dict[str, Any], name: str) -> dict[str, Any]:
    """One container of a pod's specification."""
    (found,) = (each for each in pod["containers"] if each["name"] == name)
    return found


def instructions(keyword: str) -> Iterator[str]:
    """What follows a keyword of the Dockerfile, with continued lines joined."""
    joined = (DOCKER / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    return (line.removeprefix(keyword).strip() for line in joined.splitlines() if line.startswith(keyword + " "))
