"""What is in docker/, and a real agent to hold it against."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.agent.running import RunningAgent


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Callable[..., RunningAgent]]:
    """Start an agent as in the tests of the agent; at the end it is gone."""
    with ExitStack() as stack:

        def start(dsn: str | None, **options: Any) -> RunningAgent:
            return stack.enter_context(RunningAgent(dsn, tmp_path / "pgdoctor.toml", **options))

        yield start
