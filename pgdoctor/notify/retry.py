"""When to try again: full jitter, `random(0, min(max_pause, first_pause * 2^attempt))`, by tenacity."""

import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from tenacity import AsyncRetrying, RetryCallState, RetryError, retry_if_exception_type, wait_random_exponential

from pgdoctor.notify.settings import Recipient

T = TypeVar("T")


class Postponed(Exception):
    """It may work the next time, but not for so many seconds; the text says what happened."""

    def __init__(self, text: str, seconds: float = 0.0) -> None:
        super().__init__(text)
        self.seconds = seconds


class GaveUp(Exception):
    """It was tried as often as is allowed (`is_late`: for as long as); the text says what happened the last time."""

    def __init__(self, last: BaseException | None, is_late: bool) -> None:
        super().__init__(str(last))
        self.is_late = is_late


def wait_strategy(settings: Recipient) -> Callable[[RetryCallState], float]:
    """Seconds until the next attempt: the jitter's, or what the receiver asked for if that is more."""
    jitter = wait_random_exponential(multiplier=settings.first_pause, max=settings.max_pause)

    def compute_wait(state: RetryCallState) -> float:
        last = state.outcome.exception() if state.outcome is not None else None
        return max(jitter(state), last.seconds if isinstance(last, Postponed) else 0.0)

    return compute_wait


async def call_with_retries(attempt: Callable[[], Awaitable[T]], settings: Recipient, give_up: float) -> T:
    """What the attempt returns that is not Postponed; `give_up` is a moment on the monotonic clock. Raises GaveUp."""

    def is_over(state: RetryCallState) -> bool:
        return state.attempt_number >= settings.attempts or time.monotonic() + state.upcoming_sleep >= give_up

    retrying = AsyncRetrying(wait=wait_strategy(settings), stop=is_over, retry=retry_if_exception_type(Postponed))
    try:
        return await retrying(attempt)
    except RetryError as error:
        last = error.last_attempt
        raise GaveUp(last.exception(), last.attempt_number < settings.attempts) from None
