"""A journal whose rows were changed by hand, through `pgdoctor incidents` and the history of mitigation."""

import random
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path

import msgspec
from click.testing import CliRunner

from pgdoctor.cli import cli
from pgdoctor.diagnosis.diagnose import diagnose
from pgdoctor.errors import PgdoctorError
from pgdoctor.incidents.incident import Incident, IncidentEvent
from pgdoctor.incidents.incident_log import KIND, encode_entry
from pgdoctor.incidents.snapshot_archive import pack_diagnosis
from pgdoctor.journal.store import Journal
from tests.diagnosis.test_labelled import IDLE, on_row
from tests.fuzz.mutating import HOSTILE, mutated
from tests.fuzz.trial import Trial

NAME = "journals"

_PIECES = (
    "{",
    "}",
    "[",
    '"',
    ":",
    ",",
    "null",
    "-1",
    "1e999",
    "9" * 400,
    '"a":',
    "\\u202e",
    "\\ud800",
    "0001-01-01T00:00:00Z",
    "\x00",
)
_COMMANDS = (["list"], ["list", "--format", "json"], ["show"], ["report"], ["replay"], ["replay", "--format", "json"])


@contextmanager
def opened() -> Iterator[Callable[[Trial, random.Random, int], None]]:
    """Tries one journal."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o700)
        path = Path(folder, "journal.db")
        seen = diagnose(on_row(**IDLE))
        told = IncidentEvent("started", Incident("i1", seen.captured_at, ("unknown",), 1), seen.captured_at)
        ended = IncidentEvent("ended", told.incident, seen.captured_at + timedelta(seconds=9))
        bodies = [
            msgspec.json.encode(encode_entry(each, 1, relation="public.orders", database="shop"))
            for each in (told, ended)
        ]
        whole = pack_diagnosis(seen)
        with closing(Journal.open(path)) as journal:
            for body in bodies:
                journal.append("1", KIND, "i1", body, seen.captured_at)
            journal.keep("1", "i1", whole, seen.captured_at)

        def run(command: list[str]) -> tuple[int, str]:
            try:
                result = CliRunner().invoke(
                    cli, ["incidents", *command, "--journal", str(path)], catch_exceptions=False
                )
            except PgdoctorError as error:  # `main` writes it out, and ends with its exit status.
                return error.exit_status, str(error)
            return result.exit_code, result.stdout + result.stderr

        for command in _COMMANDS:
            run(command)

        def attempt(trial: Trial, rng: random.Random, number: int) -> None:
            body = mutated(rng, rng.choice(bodies).decode(), (*_PIECES, *HOSTILE), 20_000).encode(errors="replace")
            snapshot = bytearray(whole)
            for _ in range(rng.choice((0, 1, 5))):
                snapshot[rng.randrange(len(snapshot))] = rng.randrange(256)
            trial.begin(number, body.decode(errors="replace"))
            subject = rng.choice(("i1", "i1", "i1", rng.choice(HOSTILE), "x\u202ey"))
            with closing(sqlite3.connect(path)) as db, db:
                db.execute(
                    "update records set body = ?, subject = ? where id = 1", (rng.choice((body, bodies[0])), subject)
                )
                db.execute("update records set body = ? where id = 2", (rng.choice((body, bodies[1])),))
                db.execute("update snapshots set body = ?", (bytes(snapshot),))
            command = rng.choice(_COMMANDS)
            step = "incidents " + " ".join(command)
            found = trial.timed(step, lambda: run(command))
            if found is None:
                return
            status, output = found
            if status not in (0, 2, 3) or not output:
                trial.fail(step, f"exit status {status}")
            if "Traceback" in output:
                trial.fail(step, output[-300:])
            trial.check_output(step, output)

        yield attempt
