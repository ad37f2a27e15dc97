"""What is asked of every text: it raises nothing, costs little CPU time, leaks nothing, and moves no terminal."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

T = TypeVar("T")

#: Seconds of CPU time that one step may take for one text.
LIMIT = 0.1

#: Attempts before a step counts as too slow: a busy machine adds to the time, and never takes away. From the third on
#: there is a pause of so many seconds before each, in which whatever else runs may come to an end.
_ATTEMPTS, _QUICK_ATTEMPTS = 9, 3
_PAUSE = 0.3

#: A planted value, of which not even this much may come out.
SECRET = "zq7hunter2"
TRACE = "zq7"

#: Controls except the newline, marks of the writing direction, separators of lines.
UNSAFE = re.compile(
    r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)

_MOST_SHOWN = 300


@dataclass
class Failure:
    """What went wrong with one text, and how to make the text again."""

    number: int
    step: str
    reason: str
    text: str

    def __str__(self) -> str:
        return f"#{self.number} {self.step}: {self.reason}: {self.text[:_MOST_SHOWN]!r}"


@dataclass
class Trial:
    """The counts of one entry point."""

    texts: int = 0
    slowest: float = 0.0
    slowest_step: str = ""
    failures: list[Failure] = field(default_factory=list)
    #: The text that is tried now, and its number.
    text: str = ""
    number: int = 0

    def begin(self, number: int, text: str) -> None:
        """All that follows is about this text."""
        self.texts += 1
        self.number, self.text = number, text

    def fail(self, step: str, reason: str) -> None:
        self.failures.append(Failure(self.number, step, reason, self.text))

    def timed(self, step: str, work: Callable[[], T], clock: Callable[[], float] = time.thread_time) -> T | None:
        """What the work returns; None where it raised. A step that is too slow is tried again first."""
        least = float("inf")
        found: T | None = None
        for attempt in range(_ATTEMPTS):
            if attempt >= _QUICK_ATTEMPTS:
                time.sleep(_PAUSE)
            began = clock()
            try:
                found = work()
            except BaseException as error:
                if isinstance(error, KeyboardInterrupt):
                    raise
                self.fail(step, f"raised {type(error).__name__}: {str(error)[:200]}")
                return None
            least = min(least, clock() - began)
            if least <= LIMIT:
                break
        if least > self.slowest:
            self.slowest, self.slowest_step = least, step
        if least > LIMIT:
            self.fail(step, f"took {least * 1000:.0f} ms")
        return found

    def check_output(self, step: str, output: str, *, allowed: str = "", is_planted: bool = False) -> None:
        """No unsafe character is in it but the allowed ones, and nothing of a planted value."""
        for match in UNSAFE.finditer(output):
            if match[0] not in allowed:
                around = output[max(match.start() - 20, 0) : match.end() + 10]
                self.fail(step, f"has U+{ord(match[0]):04X} in {around!r}")
                break
        if is_planted and TRACE in output:
            place = output.index(TRACE)
            self.fail(step, f"shows the planted value in {output[max(place - 30, 0) : place + 20]!r}")
