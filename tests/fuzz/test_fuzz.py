"""A slice of the fuzzing; all of it is `python -m tests.fuzz --count 100000`."""

import pytest

from tests.examples import scale_count
from tests.fuzz.running import SHARES, tried

#: Texts in `make test`.
QUICK = {
    **{"statements": 200, "names": 150, "http_requests": 200, "webhooks": 200},
    **{"configurations": 200, "journals": 60, "dsns": 300, "server_logs": 100},
}
#: Times as many in a long run.
LONG = 5


def check(name: str, count: int, first: int = 0) -> None:
    trial = tried(name, count, first=first)
    assert trial.texts == count
    assert not trial.failures, "\n".join(map(str, trial.failures[:5]))


@pytest.mark.deadline(300)
@pytest.mark.parametrize("name", SHARES)
def test_h81_hostile_text_does_no_harm(name: str) -> None:
    check(name, scale_count(QUICK[name]))


@pytest.mark.long
@pytest.mark.deadline(300)
@pytest.mark.parametrize("name", SHARES)
def test_h81_much_hostile_text_does_no_harm(name: str) -> None:
    check(name, QUICK[name] * LONG, first=1_000_000)
