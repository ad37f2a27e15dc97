"""Terminals in which the scene's server is watched."""

from collections.abc import Callable, Iterator

import pytest

from tests.live.terminal import Terminal
from tests.scenes import Scene


@pytest.fixture
def watch(scene: Scene) -> Iterator[Callable[..., Terminal]]:
    """Watch the scene's server, five times a second."""
    opened: list[Terminal] = []

    def start(*arguments: str, dsn: str | None = None, **options: object) -> Terminal:
        opened.append(Terminal("--interval", "200ms", *arguments, PGDOCTOR_DSN=dsn or scene.dsn, **options))
        return opened[-1]

    yield start
    for each in opened:
        each.close()
