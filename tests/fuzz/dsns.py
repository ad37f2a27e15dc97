"""Connection strings: what is wrong is one line, and never shows the password."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pgdoctor.errors import PgdoctorError
from pgdoctor.postgres.dsn import parse_dsn
from tests.fuzz.mutating import HOSTILE, mutated
from tests.fuzz.trial import SECRET, Trial

NAME = "DSNs"

_SEEDS = (
    f"postgresql://bob:{SECRET}@h:5432/d?sslmode=require",
    f"host=h port=5432 user=bob password={SECRET} dbname=d",
    f"postgres://bob:{SECRET}@[::1]/d?options=-c%20x%3D1",
    f"host=a,b password='{SECRET}' connect_timeout=5",
    f"service=x password={SECRET}",
)
_PIECES = (
    "'",
    "=",
    " ",
    "%",
    "%00",
    "@",
    ":",
    "/",
    "?",
    "&",
    "[",
    "]",
    ",",
    "\\",
    "host=",
    "password=",
    "postgresql://",
)


@contextmanager
def opened() -> Iterator[Callable[[Trial, random.Random, int], None]]:
    """Tries one string."""

    def parse(text: str) -> str:
        try:
            parse_dsn(text)
        except PgdoctorError as error:
            return str(error)
        return ""

    def attempt(trial: Trial, rng: random.Random, number: int) -> None:
        text = mutated(rng, rng.choice(_SEEDS), (*_PIECES, *HOSTILE), 5_000)
        trial.begin(number, text)
        said = trial.timed("parse", lambda: parse(text))
        trial.check_output("parse", said or "", is_planted=True)
        if "\n" in (said or ""):
            trial.fail("parse", f"more than one line: {said!r}")

    yield attempt
