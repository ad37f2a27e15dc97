"""Bodies of alerts to the webhook of a running agent, with its token."""

import json
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tests.agent.http.test_webhook import CONTRACT, GROUP, WRONG
from tests.fuzz.mutating import HOSTILE, mutated
from tests.fuzz.sockets import TOKEN, agent, check_alive, cpu_seconds, exchanged
from tests.fuzz.trial import SECRET, Trial

NAME = "webhook bodies"

_PIECES = (
    *("{", "}", "[", "]", '"', ":", ",", "null", "true", "NaN", "1e999", "-0", "9" * 500, "\\u0000", "\\ud800"),
    *('{"a":', "[["),
    *('"alertId": "b",', '"status": 1,', '"version": "4",', '"alerts": [],', "\\", "//", "1.5.5", "\x00", " " * 1_000),
)
_VALUES: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    10**400,
    1.5,
    "",
    SECRET,
    [],
    {},
    [[]],
    {"a": {}},
    "\u202e\x1b",
    "x" * 20_000,
)

_LOOK_EVERY = 200


def made(rng: random.Random) -> bytes:
    """A body, or nearly one, with the secret in it."""
    if rng.random() < 0.5:
        body = dict(rng.choice((GROUP, CONTRACT)))
        for _ in range(rng.randint(0, 4)):
            body[rng.choice([*body, *CONTRACT, SECRET])] = rng.choice(_VALUES)
        if rng.random() < 0.5 and isinstance(body.get("alerts"), list):
            first = dict(GROUP["alerts"][0])
            first[rng.choice([*first, SECRET])] = rng.choice(_VALUES)
            first["labels"] = rng.choice(({SECRET: rng.choice(_VALUES)}, first["labels"], rng.choice(_VALUES)))
            body["alerts"] = [first] * rng.choice((1, 1, 100))
        return json.dumps(body).encode()
    if rng.random() < 0.3:
        return rng.choice([raw for raw, _ in WRONG.values()]) + rng.choice((b"", b" ", b"}", rng.randbytes(30)))
    seed = json.dumps(rng.choice((GROUP, CONTRACT)) | {SECRET: SECRET}, ensure_ascii=rng.random() < 0.5)
    return mutated(rng, seed, (*_PIECES, *HOSTILE), 66_000).encode(errors="replace")


@contextmanager
def opened() -> Iterator[Callable[[Trial, random.Random, int], None]]:
    """Tries one body."""
    with agent() as running:

        def attempt(trial: Trial, rng: random.Random, number: int) -> None:
            body = made(rng)
            trial.begin(number, body.decode("latin-1"))
            head = (
                f"POST /webhook HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nAuthorization: Bearer {TOKEN}\r\n"
            )
            raw = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
            answer = trial.timed("POST", lambda: exchanged(running, raw), lambda: cpu_seconds(running)) or b""
            status = answer[9:12]
            # Of a body that is too big the answer may be lost, since the agent does not read the rest.
            if status not in (b"200", b"202", b"400", b"413") and not (answer == b"" and len(body) > 60_000):
                trial.fail("POST", f"answered {answer[:100]!r}")
            said = answer.partition(b"\r\n\r\n")[2].decode(errors="replace")
            trial.check_output("POST", said, is_planted=True)
            if number % _LOOK_EVERY == 0:
                check_alive(trial, running)

        last = Trial()
        exchanged(running, b"POST /webhook HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n\r\n")
        yield attempt
        check_alive(last, running)
        assert not last.failures, last.failures[0]
