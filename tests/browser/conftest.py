"""A browser for the tests of the page; without one they fail, and say what is missing."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.agent.running import RunningAgent
from tests.browser.chromium import Browser, Missing, chromium

#: Beside a browser and a storm an answer may take longer than a scraper would like; here it is about what is in it.
_PROMPT = 20.0


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One window for all tests."""
    try:
        with chromium() as window:
            yield window
    except Missing as missing:
        pytest.fail(str(missing), pytrace=False)


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Callable[..., RunningAgent]]:
    """Start an agent as in the tests of the agent; at the end it is gone."""
    with ExitStack() as stack:

        def start(dsn: str | None, **options: Any) -> RunningAgent:
            return stack.enter_context(
                RunningAgent(dsn, tmp_path / "pgdoctor.toml", **{"prompt": _PROMPT, "deadline": "10s", **options})
            )

        yield start
