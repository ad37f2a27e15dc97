"""The files of docker/, read as those who use them read them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from pgdoctor.render.manual import read_alerts
from pgdoctor.topics import ALERT_FILES

DOCKER = Path(__file__).resolve().parents[2] / "docker"


def documents(name: str) -> list[Any]:
    """All documents of a YAML file."""
    return list(yaml.safe_load_all((DOCKER / name).read_text(encoding="utf-8")))


def rules() -> list[dict[str, Any]]:
    """The alerts, in their order."""
    files = [file for name in ALERT_FILES for file in documents(name)]
    return [rule for file in files for group in file["groups"] for rule in group["rules"]]


def alert_pages() -> dict[str, str]:
    """The comment above each alert, by its name."""
    texts = [(DOCKER / name).read_text(encoding="utf-8") for name in ALERT_FILES]
    return {name: page for text in texts for name, page in read_alerts(text).items()}


def panels() -> list[dict[str, Any]]:
    """Those of the dashboard; the headings of its rows are none."""
    listed = json.loads((DOCKER / "dashboard.json").read_text(encoding="utf-8"))["panels"]
    return [each for each in listed if each["type"] != "row"]


def container(pod: dict[str, Any], name: str) -> dict[str, Any]:
    """One container of a pod's specification."""
    (found,) = (each for each in pod["containers"] if each["name"] == name)
    return found


def instructions(keyword: str) -> Iterator[str]:
    """What follows a keyword of the Dockerfile, with continued lines joined."""
    joined = (DOCKER / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    return (line.removeprefix(keyword).strip() for line in joined.splitlines() if line.startswith(keyword + " "))
