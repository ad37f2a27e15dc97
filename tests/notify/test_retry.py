"""Pauses between attempts: full jitter within its bounds, and what a receiver asks for."""

import asyncio
import time
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tenacity import RetryCallState

from pgdoctor.fields import Duration
from pgdoctor.notify.http_post import MOST_RETRY_AFTER, _retry_after
from pgdoctor.notify.retry import GaveUp, Postponed, call_with_retries, wait_strategy
from pgdoctor.notify.settings import Recipient

SECONDS = st.floats(0.1, 3600).map(Duration)


def settings(**given: Any) -> Recipient:
    usual = {"first_pause": Duration(0.1), "max_pause": Duration(0.1)}
    return Recipient(name="a", url="http://localhost/", **{**usual, **given})


def failed(attempt: int, seconds: float = 0.0) -> RetryCallState:
    state: Any = SimpleNamespace(
        attempt_number=attempt, outcome=SimpleNamespace(exception=lambda: Postponed("x", seconds))
    )
    return state


@given(SECONDS, SECONDS, st.integers(1, 2_000))
def test_a_pause_is_anything_up_to_the_bound(first: Duration, most: Duration, attempt: int) -> None:
    wait = wait_strategy(settings(first_pause=first, max_pause=most))
    bound = min(most, first * 2.0 ** min(attempt - 1, 1_000))
    assert all(0.0 <= wait(failed(attempt)) <= bound for _ in range(20))


def test_pauses_fill_all_of_the_range() -> None:
    """Full jitter, not a pause with a little noise: who failed together does not come back together."""
    wait = wait_strategy(settings(first_pause=Duration(1), max_pause=Duration(60)))
    pauses = [wait(failed(4)) for _ in range(2_000)]
    assert min(pauses) < 0.4
    assert max(pauses) > 7.6
    assert max(pauses) <= 8.0
    assert 3.5 < sum(pauses) / len(pauses) < 4.5


@given(st.integers(1, 10), st.floats(1, 100))
def test_a_receiver_may_ask_for_more(attempt: int, seconds: float) -> None:
    assert wait_strategy(settings())(failed(attempt, seconds)) == seconds


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("7", 7.0),
        ("0", 0.0),
        ("99999999999", MOST_RETRY_AFTER),
        ("9" * 5_000, MOST_RETRY_AFTER),
        ("Thu, 01 Jan 1970 00:00:30 GMT", 20.0),
        ("Thu, 01 Jan 1970 00:00:05 GMT", 0.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", MOST_RETRY_AFTER),
        ("-3", 0.0),
        ("1.5", 0.0),
        ("tomorrow", 0.0),
        ("", 0.0),
        ("\xff", 0.0),
        ("²", 0.0),
    ],
)
def test_delay_requested_by_a_receiver_is_bounded(said: str, seconds: float) -> None:
    assert _retry_after([(b"Retry-After", said.encode("latin-1"))], now=10.0) == seconds


def test_the_attempts_are_counted() -> None:
    calls = []

    async def attempt() -> None:
        calls.append(1)
        raise Postponed(f"call {len(calls)}")

    with pytest.raises(GaveUp, match="call 3") as caught:
        asyncio.run(call_with_retries(attempt, settings(attempts=3), time.monotonic() + 3600))
    assert len(calls) == 3
    assert not caught.value.is_late


def test_delivery_is_given_up_after_its_limit() -> None:
    async def attempt() -> None:
        raise Postponed("later", 50.0)

    with pytest.raises(GaveUp) as caught:
        asyncio.run(call_with_retries(attempt, settings(), time.monotonic() + 40.0))
    assert caught.value.is_late


def test_permanent_failure_is_not_retried() -> None:
    async def attempt() -> None:
        raise ValueError

    with pytest.raises(ValueError):
        asyncio.run(call_with_retries(attempt, settings(), time.monotonic() + 40.0))
