"""A real agent in a process of its own, for one test."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.agent.running import RunningAgent

#: Where nothing listens.
NOBODY = "postgresql://app:hunter2-of-the-test@127.0.0.1:1/shop"


@pytest.fixture(scope="module")
def lone_agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningAgent]:
    """An agent whose server does not exist, for what needs none; several tests share it."""
    with RunningAgent(NOBODY, tmp_path_factory.mktemp("agent") / "pgdoctor.toml") as running:
        yield running


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Callable[..., RunningAgent]]:
    """Start an agent that looks at the server of a DSN five times a second; at the end it is gone.

    `interval`, `deadline`, `share` and `more` go into its configuration, `arguments` onto its command line. Whatever a
    test does, its output is looked through for the password of the DSN.
    """
    with ExitStack() as stack:

        def start(dsn: str | None, **options: Any) -> RunningAgent:
            return stack.enter_context(RunningAgent(dsn, tmp_path / "pgdoctor.toml", **options))

        yield start
