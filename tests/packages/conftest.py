"""Every test here needs a tool of Kubernetes, systemd or Debian; without it the test fails and names the tool."""

from pathlib import Path

import pytest

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.packages)
            # They make Debian systems, and images of them.
            item.add_marker(pytest.mark.deadline(1800))
