"""A browser for the tests of the page; without one they fail, and say what is missing."""

from collections.abc import Iterator

import pytest

from tests.agent.conftest import agent, lone_agent
from tests.browser.chromium import Browser, Missing, chromium

__all__ = ["agent", "lone_agent"]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One window for all tests."""
    try:
        with chromium() as window:
            yield window
    except Missing as missing:
        pytest.fail(str(missing), pytrace=False)
