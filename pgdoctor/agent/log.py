"""One JSON object a line on stderr, or one line of text, and never so many that they do harm.

A line says when, how grave, what happened, and figures beside it. Other libraries' texts may hold anything (asyncio
writes out exceptions, the driver host names), so of them only the place and the kind of error are said.
"""

import json
import logging
import os
import re
import select
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from pgdoctor.config.config import LogFormat
from pgdoctor.escape import encode_json, escape_text

#: Lines of one kind that may be written in a second.
MOST_PER_SECOND = 100.0

#: What a pipe takes without blocking, once it is ready at all.
_PIPE_BYTES = 4096

#: Seconds in which the rest of a long line has to get through, before it is given up.
_PATIENCE = 0.05

#: A value that needs no quotes in a line of text.
_WORD = re.compile(r"[\w.:/+%-]+")

_OUR_OWN = ("pgdoctor",)

#: Loggers of libraries whose texts are constants.
_CONSTANT_TEXTS = ("uvicorn",)

#: What every record has; the rest came in as `extra`.
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class TokenBucket:
    """Tokens that come back with time: as many at once as in one second."""

    def __init__(self, per_second: float) -> None:
        self.per_second = per_second
        self._tokens = per_second
        self._filled_at = 0.0
        #: What found no token since this was last set to 0.
        self.dropped = 0

    def take_token(self, now: float) -> bool:
        """Whether there is a token; takes it, or counts one more as dropped."""
        self._tokens = min(self.per_second, self._tokens + (now - self._filled_at) * self.per_second)
        self._filled_at = now
        if self._tokens < 1.0:
            self.dropped += 1
            return False
        self._tokens -= 1.0
        return True


class Lines(logging.Handler):
    """Writes records to a file descriptor. What cannot be written, or is too much, is counted and dropped."""

    def __init__(self, descriptor: int, log_format: LogFormat = "json", per_second: float = MOST_PER_SECOND) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._buckets: dict[str, TokenBucket] = {}
        self._torn = False
        #: Lines that were dropped since the start.
        self.dropped = 0
        self.write_as(log_format, per_second)

    def write_as(self, log_format: LogFormat, per_second: float) -> None:
        """From the next line on: how, and at most so many of one kind."""
        self._encode: Callable[[dict[str, Any]], bytes] = format_text_line if log_format == "text" else encode_json
        self._per_second = per_second

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record, if its kind has not used up its share."""
        try:
            bucket = self._buckets.setdefault(rate_key(record), TokenBucket(self._per_second))
            bucket.per_second = self._per_second
            if not bucket.take_token(time.monotonic()):
                self.dropped += 1
                return
            self._tell_dropped(bucket)
            self._write_line(self._encode(record_fields(record)))
        except Exception:  # noqa: BLE001
            # Nothing that goes wrong in logging may stop what is logged, and there is no other place to report it.
            self.dropped += 1

    def tell_dropped(self) -> None:
        """Say how many lines of each kind were dropped, for those that have had no message since."""
        self.acquire()
        try:
            for bucket in self._buckets.values():
                self._tell_dropped(bucket)
        finally:
            self.release()

    def _tell_dropped(self, bucket: TokenBucket) -> None:
        if bucket.dropped:
            told = {"dropped_logs": bucket.dropped, "reason": "Rate-limit threshold breached"}
            bucket.dropped = 0
            self._write_line(self._encode(told))

    def _write_line(self, text: bytes) -> None:
        """Write a line without ever waiting long: the reader of the pipe may have stopped."""
        rest = memoryview((b"\n" if self._torn else b"") + text + b"\n")
        whole = len(rest)
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        while rest:
            begun = len(rest) < whole
            try:
                if not poll.poll(_PATIENCE * 1000 if begun else 0):
                    raise BlockingIOError
                rest = rest[os.write(self._descriptor, rest[:_PIPE_BYTES]) :]
            except OSError:
                self._torn = self._torn or begun
                self.dropped += 1
                return
        self._torn = False


def rate_key(record: logging.LogRecord) -> str:
    """What shares one rate: the place in the program that a record comes from."""
    return f"{record.name}:{record.lineno}"


def record_fields(record: logging.LogRecord) -> dict[str, Any]:
    """A record as names and values, in the order of the line."""
    found: dict[str, Any] = {
        "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
        "level": record.levelname.lower(),
        "logger": record.name,
        "event": _describe_event(record),
    }
    if record.name.split(".")[0] in _OUR_OWN:
        more = {name: value for name, value in vars(record).items() if name not in _STANDARD | found.keys()}
        found |= msgspec.to_builtins(more, enc_hook=_encode_unknown)
    if record.exc_info and record.exc_info[1] is not None:
        found["exception"] = list(kinds_and_places(record.exc_info[1]))
    return found


def format_text_line(values: dict[str, Any]) -> bytes:
    """A line for people: time, level, logger and event, then the rest as name=value. It holds no control character."""
    rest = dict(values)
    begin = [str(rest.pop(name)) for name in ("time", "level", "logger", "event") if name in rest]
    return escape_text(" ".join([*begin, *(f"{name}={_format_value(value)}" for name, value in rest.items())])).encode()


def _format_value(value: object) -> str:
    """As it is if it is one word, else as JSON, so that its end can be seen."""
    if isinstance(value, str) and _WORD.fullmatch(value):
        return value
    return json.dumps(value, ensure_ascii=False)


def _encode_unknown(value: object) -> str:
    """The text of a value that JSON does not know; of an exception, which may quote anything, only its kind."""
    return type(value).__name__ if isinstance(value, BaseException) else str(value)


def _describe_event(record: logging.LogRecord) -> str:
    package = record.name.split(".")[0]
    if package in _OUR_OWN:
        return record.getMessage()
    if package in _CONSTANT_TEXTS:
        return _encode_unknown(record.msg).strip()
    return f"{record.levelname.lower()} in {record.module} line {record.lineno}"


def kinds_and_places(error: BaseException) -> Iterator[str]:
    """What an exception may say: kinds and places, the cause first; never its text, which quotes what it fell over."""
    chain = [error]
    while (before := chain[0].__cause__ or chain[0].__context__) is not None and before not in chain:
        chain.insert(0, before)
    for each in chain:
        places = (
            f"{Path(frame.filename).name}:{frame.lineno} {frame.name}"
            for frame in traceback.extract_tb(each.__traceback__)[-5:]
        )
        yield f"{type(each).__name__} at {' > '.join(places)}"


def install_logging(log_format: LogFormat = "json", per_second: float = MOST_PER_SECOND) -> Lines:
    """Send the logging of the whole process to stderr, ours from `info` on, other libraries' from `warning` on."""
    # Without a stderr its number may by now belong to a socket.
    descriptor = sys.stderr.fileno() if sys.stderr else os.open(os.devnull, os.O_WRONLY)
    handler = Lines(descriptor, log_format, per_second)
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger("pgdoctor").setLevel(logging.INFO)
    # Its warnings are one for each bad request; those are counted.
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    logging.raiseExceptions = False
    logging.captureWarnings(True)
    threading.excepthook = lambda failed: _tell_lost("a thread ended with an exception", failed.exc_value)
    sys.unraisablehook = lambda failed: _tell_lost("an exception in a destructor or callback", failed.exc_value)
    return handler


def _tell_lost(event: str, error: BaseException | None) -> None:
    """Instead of Python's own report, which is no JSON and has the exception's text."""
    logging.getLogger(__name__).error(event, exc_info=error)
