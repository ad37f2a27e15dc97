"""A real Prometheus of a test's own, and what it answers."""

import json
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from socket import socket
from typing import Any


@contextmanager
def run_prometheus(folder: Path, config: str) -> Iterator[str]:
    """Run one with this configuration and its data in `folder`; yields its address, such as `127.0.0.1:31786`."""
    with socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    folder.mkdir(exist_ok=True)
    (folder / "prometheus.yml").write_text(config)
    arguments = [f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}"]
    process = subprocess.Popen(["prometheus", *arguments, f"--web.listen-address={address}"], stderr=subprocess.DEVNULL)
    try:
        yield address
    finally:
        process.kill()
        process.wait()


def ask(address: str, path: str) -> Any:
    """The data of an answer of its API; empty where it does not answer yet."""
    try:
        with urllib.request.urlopen(f"http://{address}/api/v1/{path}", timeout=10) as answer:
            return json.load(answer)["data"]
    except (urllib.error.URLError, ConnectionError):
        return {}


def query(address: str, expression: str) -> list[dict[str, Any]]:
    """What an expression answers now; an error of the server is an error here."""
    path = f"query?query={urllib.parse.quote(expression)}"
    with urllib.request.urlopen(f"http://{address}/api/v1/{path}", timeout=10) as answer:
        found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
        return found
