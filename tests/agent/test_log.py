"""What is logged, what never is, and what happens when it is too much."""

import json
import logging
import os
import subprocess
import sys

import msgspec
import pytest

from pgdoctor.agent.log import Lines, TokenBucket, record_fields

SECRET = "hunter2-of-the-test"


@pytest.fixture
def pipe():
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def record(name: str = "pgdoctor.test", message: str = "polled", lineno: int = 1, **more):
    made = logging.LogRecord(name, logging.INFO, "test.py", lineno, message, None, None)
    vars(made).update(more)
    return made


def as_json(made: logging.LogRecord) -> bytes:
    return msgspec.json.encode(record_fields(made))


def read(end: int) -> list[dict]:
    os.set_blocking(end, False)
    return [json.loads(each) for each in os.read(end, 1 << 20).decode().splitlines()]


def failing() -> tuple:
    try:
        try:
            raise ValueError(SECRET)
        except ValueError as error:
            raise KeyError(SECRET) from error
    except KeyError as error:
        return type(error), error, error.__traceback__


def test_a_line_is_an_object_with_its_figures():
    said = json.loads(as_json(record(pid=4711, outcome="released")))
    assert said.pop("time").endswith("+00:00")
    assert said == {
        "level": "info",
        "logger": "pgdoctor.test",
        "event": "polled",
        "pid": 4711,
        "outcome": "released",
    }


def test_texts_of_other_libraries_and_of_exceptions_are_not_said():
    for name in ("psycopg.pool", "asyncio", "pgdoctor.agent.polling.poller"):
        message = "failed" if name.startswith("pgdoctor") else f"error connecting: {SECRET}"
        said = as_json(record(name, message, exc_info=failing())).decode()
        assert SECRET not in said
        assert json.loads(said)["exception"][0].startswith("ValueError at test_log.py:")
        assert json.loads(said)["exception"][1].startswith("KeyError at test_log.py:")


FAULTS = f"""
import gc, logging, threading, warnings
from pgdoctor.agent.log import install_logging
install_logging()
class Bad:
    def __del__(self):
        raise ValueError("{SECRET}")
def fail():
    raise KeyError("{SECRET}")
bad = Bad()
del bad
gc.collect()
thread = threading.Thread(target=fail)
thread.start()
thread.join()
warnings.warn("{SECRET}", stacklevel=1)
logging.getLogger("uvicorn.error").error(OSError("{SECRET}"))
logging.getLogger("pgdoctor").error("failed", extra={{"error": OSError("{SECRET}")}})
"""


def test_warning_of_python_is_a_line_without_its_text():
    run = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, timeout=30, check=True)
    assert SECRET not in run.stdout + run.stderr
    said = [json.loads(each) for each in run.stderr.splitlines()]
    assert [each["logger"] for each in said] == [
        "pgdoctor.agent.log",
        "pgdoctor.agent.log",
        "py.warnings",
        "uvicorn.error",
        "pgdoctor",
    ]
    assert said[0]["exception"][0].startswith("ValueError at ")
    assert said[1]["exception"][0].startswith("KeyError at ")
    assert (said[3]["event"], said[4]["error"]) == ("OSError", "OSError")


def test_a_flood_of_one_kind_is_cut_and_counted_and_does_not_drown_another(pipe):
    handler = Lines(pipe[1], per_second=5)
    for _ in range(100):
        handler.emit(record(lineno=1))
    handler.emit(record(lineno=2, message="rare"))
    handler.tell_dropped()
    said = read(pipe[0])
    assert handler.dropped == 100 - 5
    assert [each.get("event") for each in said[:6]] == ["polled"] * 5 + ["rare"]
    assert said[6:] == [{"dropped_logs": 95, "reason": "Rate-limit threshold breached"}]


def test_the_bucket_fills_again():
    bucket = TokenBucket(2)
    assert [bucket.take_token(10.0) for _ in range(3)] == [True, True, False]
    assert [bucket.take_token(10.5) for _ in range(2)] == [True, False]
    assert bucket.dropped == 2


def test_a_reader_that_has_gone_is_no_error():
    read_end, write_end = os.pipe()
    os.close(read_end)
    handler = Lines(write_end)
    handler.emit(record())
    assert handler.dropped == 1
    os.close(write_end)
    handler.emit(record())
    assert handler.dropped == 2


def test_a_reader_that_sleeps_is_not_waited_for(pipe):
    handler = Lines(pipe[1], per_second=1e6)
    while not handler.dropped:
        handler.emit(record())
    kept = len(read(pipe[0]))
    assert kept > 100
    handler.emit(record(message="again"))
    assert [each["event"] for each in read(pipe[0])] == ["again"]


def test_a_long_line_that_was_torn_does_not_spoil_the_next(pipe):
    handler = Lines(pipe[1])
    handler.emit(record(message="x" * 1_000_000))
    assert handler.dropped == 1
    torn = os.read(pipe[0], 1 << 20)
    assert not torn.endswith(b"\n")
    handler.emit(record())
    assert os.read(pipe[0], 1 << 20).startswith(b'\n{"time"')


def test_line_that_is_no_json_is_dropped_and_counted(pipe):
    handler = Lines(pipe[1])
    handler.emit(record(message="\ud800"))
    handler.emit(record(message="%d", args=("none",)))
    assert handler.dropped == 2
